"""Replies cut to WhatsApp's measure: nothing is lost, nothing is too long, code stays code."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.whatsapp.splitting import WHATSAPP_LIMIT, finish_truncated, split_reply

FENCE = "```"
WORDS = st.text("abcçé.!?\"') *_`\n ", max_size=60)
PROSE = st.lists(st.one_of(WORDS, st.text(max_size=30)), max_size=30).map(" ".join)
CODE = st.text("xyz =()\n  ", min_size=1, max_size=120).map(
    lambda code: f"{FENCE}\n{code}\n{FENCE}"
)
MIXED = st.lists(st.one_of(PROSE.map(lambda text: text.replace("`", "")), CODE), max_size=8).map(
    "\n\n".join
)
LIMITS = st.integers(min_value=32, max_value=200)


def bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


@given(text=PROSE, limit=LIMITS)
def test_no_part_is_empty_or_too_long(text: str, limit: int) -> None:
    for part in split_reply(text, limit):
        assert part.strip()
        assert len(part) <= limit


@given(text=PROSE, limit=LIMITS)
def test_nothing_but_space_and_fence_marks_is_lost_or_added(text: str, limit: int) -> None:
    joined = "".join(split_reply(text, limit))
    assert bare(joined).replace("`", "") == bare(text).replace("`", "")


@given(text=MIXED, limit=LIMITS)
def test_every_part_closes_the_code_that_it_opens(text: str, limit: int) -> None:
    parts = split_reply(text, limit)
    for part in parts:
        assert part.count(FENCE) % 2 == 0
        assert len(part) <= limit
    assert bare("".join(parts)).replace(FENCE, "") == bare(text).replace(FENCE, "")


@given(text=PROSE)
def test_what_is_short_enough_is_one_part(text: str) -> None:
    assert split_reply(text, 10_000) == ((text.strip(),) if text.strip() else ())


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_no_text_is_no_part(text: str) -> None:
    assert split_reply(text) == ()


def test_a_text_of_just_the_limit_stays_whole() -> None:
    assert split_reply("a" * WHATSAPP_LIMIT) == ("a" * WHATSAPP_LIMIT,)
    assert len(split_reply("a" * (WHATSAPP_LIMIT + 1))) == 2


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Um parágrafo. Uma frase.\n\nOutro\nparágrafo, mais longo.", "Um parágrafo. Uma frase."),
        ("Uma linha inteira\noutra linha. E mais uma frase aqui", "Uma linha inteira"),
        ('Ele disse: "Volto já." Depois saiu de casa e não', 'Ele disse: "Volto já."'),
        ("Sem fim de frase mas com palavras bastantes aqui", "Sem fim de frase mas com palavras"),
        ("a" * 60, "a" * 34),
    ],
    ids=["at a paragraph", "at a line", "at a sentence", "at a word", "anywhere"],
)
def test_a_text_is_cut_at_the_best_place(text: str, first: str) -> None:
    assert split_reply(text, 42)[0] == first


def test_a_tiny_first_paragraph_is_not_a_part_of_its_own() -> None:
    assert split_reply("Oi!\n\nEste parágrafo já é bem mais longo que o outro.", 42)[0] != "Oi!"


def test_a_cut_code_block_goes_on_as_code_with_its_indentation() -> None:
    code = f"{FENCE}\nfor each in every:\n    first(each)\n    second(each)\n{FENCE}"
    first, second = split_reply(code, 55)
    assert first == f"{FENCE}\nfor each in every:\n    first(each)\n{FENCE}"
    assert second == f"{FENCE}\n    second(each)\n{FENCE}"


def test_no_empty_code_block_is_made_where_one_ends_or_begins_at_the_cut() -> None:
    before = "Primeiro uma frase de introdução"
    for text in (
        f"{before}\n{FENCE}\nx = 1234567\n{FENCE}",
        f"{FENCE}\n{before}\n{FENCE}\ne o resto",
    ):
        parts = split_reply(text, 43)
        assert len(parts) == 2
        assert not any(re.search(r"```\s*```", part) for part in parts)


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("Primeira frase. Segunda frase. Tercei", "Primeira frase. Segunda frase."),
        ('Ela disse "sim." E ent', 'Ela disse "sim."'),
        ("Um item\nOutro item\nMais u", "Um item\nOutro item"),
        ("Curta. Mas depois uma que não acaba", "Curta. Mas depois uma que não acaba…"),
        ("Custa R$ 10.50 por un", "Custa R$ 10.50 por un…"),
        ("sem fim ", "sem fim…"),
        ("Completa.", "Completa."),
    ],
)
def test_a_truncated_reply_ends_where_a_sentence_ends(text: str, finished: str) -> None:
    assert finish_truncated(text) == finished


@given(text=PROSE.filter(str.strip))
def test_finishing_never_leaves_nothing(text: str) -> None:
    assert finish_truncated(text).strip()
