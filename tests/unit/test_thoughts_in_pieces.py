"""A model's reasoning that goes through several messages, has other names, or is spoken of."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from router.llm.errors import LlmError
from router.llm.provider import LlmReply
from router.llm.reasoning import begins_in_thought, without_reasoning, without_reasoning_in
from router.llm.thinkers import Thinkers
from router.n8n.answered_messages import Conversation
from router.n8n.reply import Answered, read_answer
from router.replies.parts import parts_of

ABOUT = Conversation("5511955550001@s.whatsapp.net", {})


def parts(answer: Any) -> tuple[Any, ...]:
    read = read_answer(json.dumps(answer).encode(), ABOUT)
    assert isinstance(read, Answered)
    return read.parts


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["our margin", "is 60%</think>", "Oi"], ("Oi",)),
        (["our margin", "is 60%</think>Oi", "Tudo bem?"], ("Oi", "Tudo bem?")),
        (["<think>", "our margin", "</think>", "Oi"], ("Oi",)),
        (["Olá <think>our", "margin", "is 60%</think>Sim"], ("Olá", "Sim")),
        (["Olá", "<think>our", "margin"], ("Olá",)),
        (["<think>a</think>Olá", "<think>b</think>Sim"], ("Olá", "Sim")),
        (["Olá", "Sim"], ("Olá", "Sim")),
    ],
)
def test_a_thought_in_several_messages_of_a_flow_reaches_nobody(
    texts: list[str], said: tuple[str, ...]
) -> None:
    """Many flows cut what a model says at its empty lines."""
    assert parts({"messages": texts}) == said
    assert parts({"messages": [{"text": text} for text in texts]}) == said
    if len(texts) > 1:
        assert parts([{"text": text} for text in texts]) == said


@pytest.mark.parametrize("texts", [["our margin", "is 60%</think>"], ["<think>our", "margin"]])
def test_nothing_but_a_thought_says_nothing(texts: list[str]) -> None:
    with pytest.raises(LlmError):
        parts({"messages": texts})


@rules(max_examples=80)
@given(
    st.lists(
        st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n"]), max_size=4).map("".join),
        max_size=5,
    )
)
def test_in_pieces_nothing_is_shown_that_is_not_shown_of_the_whole(texts: list[str]) -> None:
    whole = "".join(without_reasoning("\n\n".join(texts)).split())
    assert "".join("".join(without_reasoning_in(texts)).split()) == whole


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<antThinking>", "</antThinking>"),
        ("<longcat_think>", "</longcat_think>"),
        ("<thinking_process>", "</thinking_process>"),
        ("<reasoning_content>", "</reasoning_content>"),
        ("<chain_of_thought>", "</chain_of_thought>"),
        ("<inner-monologue>", "</inner-monologue>"),
        ("<cot>", "</cot>"),
        ("&#60;think&#62;", "&#60;/think&#62;"),
        ("<think>", r"<\/think>"),
    ],
)
def test_other_names_of_the_tags(opening: str, closing: str) -> None:
    for text in (f"{opening}our margin{closing}Sim.", f"our margin{closing}Sim."):
        assert without_reasoning(text) == "Sim."


def test_a_final_answer_that_is_marked_as_that() -> None:
    text = "Here are my reasoning steps:\n60%\n[BEGIN FINAL RESPONSE]\nSim.\n[END FINAL RESPONSE]"
    assert without_reasoning(text) == "Sim."


@pytest.mark.parametrize(
    "text",
    [
        "Escreva `<think>` antes da pergunta.",
        "Use `<think>` e `</think>` no prompt.",
        "A tag ```</think>``` fecha o raciocínio.",
    ],
)
def test_a_tag_that_is_spoken_of_stays(text: str) -> None:
    """A customer who builds bots may ask about it."""
    assert without_reasoning(text) == text
    assert "".join(parts_of(text)) == text.replace("```", "`")


@pytest.mark.parametrize(
    "text",
    [
        "<think>They ask about `</think>` here: 60%.</think>Sim.",
        "They ask about `<think>` here: 60%.</think>Sim.",
        "<think>`<think>`</think>Sim.",
    ],
)
def test_one_that_is_spoken_of_in_a_thought_ends_and_begins_none(text: str) -> None:
    assert without_reasoning(text) == "Sim."


@pytest.mark.parametrize("text", ["curso <design-thinking>", "<thinker>", "<rethink it>", "<plan>"])
def test_what_is_no_tag_stays(text: str) -> None:
    assert without_reasoning(text) == text


def reply(text: str, *, truncated: bool = False) -> LlmReply:
    return LlmReply(text, "openai", "r1", 1, 1, truncated=truncated)


def test_a_model_that_begins_in_thought_is_known_where_it_is_cut_off_before_the_end_of_it() -> None:
    thinkers = Thinkers()
    cut = reply("The customer asks the price. Our margin", truncated=True)
    assert thinkers.heard("r1", cut).text == cut.text  # nothing tells what it is
    assert thinkers.heard("r1", reply("our margin</think>Sim")).text == "our margin</think>Sim"
    assert thinkers.heard("r1", cut).text == ""
    assert thinkers.heard("another", cut).text == cut.text
    whole = reply("Custa R$ 32.")
    assert thinkers.heard("r1", whole).text == whole.text  # it was told not to think
    opened = reply("Sim. <think>our margin", truncated=True)
    assert thinkers.heard("r1", opened).text == opened.text


@pytest.mark.parametrize("text", ["<think>a</think>b", "<think/>a</think>", "Use `</think>`", "oi"])
def test_who_opens_a_thought_does_not_begin_in_one(text: str) -> None:
    assert begins_in_thought(text) is (text == "<think/>a</think>")


def test_no_more_models_are_kept_than_may_be() -> None:
    thinkers = Thinkers()
    for number in range(2_000):
        thinkers.heard(f"m{number}", reply("a</think>b"))
    assert len(thinkers._models) == 1_000
