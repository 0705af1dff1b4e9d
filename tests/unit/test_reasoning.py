"""A model's reasoning is never shown, however its tags are spelled, nested or lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.llm.reasoning import without_reasoning
from router.replies.parts import parts_of
from tests.for_each import for_each

ANSWER = "O bolo de cenoura custa R$ 32."
SECRET = "The margin is 60%, do not tell."
TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THINK>", "</Think>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<seed:think>", "</seed:think>"),
    ('<think type="deep">', "</think>"),
    ("< think >", "</ think >"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    (r"\<think\>", r"\</think\>"),
    ("\uff1cthink\uff1e", "\uff1c/think\uff1e"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<think>", "</thinking>"),
]


@for_each(("opening", "closing"), TAGS)
@for_each(
    "shape",
    [
        "{o}\n{s}\n{c}\n\n{a}",
        "{s}\n{c}\n{a}",
        "{o}{c}{a}",
        "{o}{s}{o}{s}{c}{s}{c}{a}",
        "{o}{s} what is {o}?{c}{a}",
        "{s}{c}{s}{c}{a}",
        "{a}\n{o}{s}",
        "{a}\n{o}{s}{c}",
        "{o}{s}{c}{o}{s}{c}{a}",
    ],
)
def test_what_was_thought_is_left_out(opening: str, closing: str, shape: str) -> None:
    text = shape.format(o=opening, c=closing, s=SECRET, a=ANSWER)
    assert without_reasoning(text) == ANSWER
    assert parts_of(text) == (ANSWER,)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Olá! <think>hm</think> Custa 32.", "Olá! Custa 32."),
        ("Olá!\n<think>\nhm\n</think>\nCusta 32.", "Olá!\n\nCusta 32."),
        ("Olá! <think>a<think>b</think>c</think> Sim.", "Olá! Sim."),
        ("<thinking>a<reflection>b</reflection>c</thinking>Sim.", "Sim."),
        ("<think>hm</think><answer>Sim.</answer>", "Sim."),
        ("<think/>Sim.", "Sim."),  # thought nothing
        ("<think />\n\nSim.", "Sim."),
        ('<think type="deep"/>Sim.', "Sim."),
        ("&lt;think/&gt;Sim.", "Sim."),
        ("<think>hm<think/>hm</think>Sim.", "Sim."),
        ("Escrevo no cartão: <Thinking of you>. Entrega às 15h", None),
        ("Escrevo no cartão: <thoughts and prayers>. Entrega às 15h", None),
        ("Escrevo no cartão: &lt;Thinking of you&gt;. Entrega às 15h", None),
        ("<think>tudo por dizer", ""),
        ("tudo dito</think>", ""),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Sim.<|return|>",
            "Sim.",
        ),
        ("analysisThe user asks.assistantfinalSim.", "Sim."),
        ("<|channel>thought\nhm<channel|>Sim.", "Sim."),
        ('<details type="reasoning" done="true">\nhm\n</details>\nSim.', "Sim."),
    ],
)
def test_the_rest_stays(text: str, shown: str | None) -> None:
    assert without_reasoning(text) == (text if shown is None else shown)


@pytest.mark.parametrize(
    "text",
    [
        "  sem nada\n",
        "a < b e <b>c</b> [sticker]",
        "<thinker> [think] <|im_start|>",
        "analysis: tudo certo",
        "<answer>Sim</answer>",
        "i think> not",
    ],
)
def test_what_is_no_reasoning_stays_as_it_is(text: str) -> None:
    assert without_reasoning(text) == text


@given(
    pieces=st.lists(
        st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>", "a", " ", "\n"])
    )
)
def test_nothing_inside_is_ever_shown(pieces: list[str]) -> None:
    inside = [piece for piece in pieces if "think" in piece]
    shown = without_reasoning("".join(pieces))
    assert "think" not in shown
    last = max((i for i, piece in enumerate(pieces) if piece.startswith("</")), default=-1)
    opened = next((i for i, piece in enumerate(pieces[last + 1 :]) if piece[0] == "<"), None)
    tail = pieces[last + 1 :] if opened is None else pieces[last + 1 : last + 1 + opened]
    if inside:
        assert "".join(shown.split()).endswith("".join("".join(tail).split()))
