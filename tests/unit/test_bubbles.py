"""A reply in a few messages: what is divided, and what never is."""

import re
from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.whatsapp.bubbles import bubbles_of
from router.whatsapp.splitting import WHATSAPP_LIMIT, split_reply

LONG = "Temos bolo de cenoura hoje, saiu do forno agora há pouco e está uma delícia."
MORE = "Se quiser, posso separar um para você buscar ainda hoje, até as seis da tarde."
LAST = "Qual horário fica melhor para você passar aqui na loja?"


def test_paragraphs_are_messages_of_their_own():
    assert bubbles_of(f"{LONG}\n\n{MORE}\n\n{LAST}", 3) == (LONG, MORE, LAST)


def test_a_key_in_bold_is_no_title_and_stands_alone():
    """A customer copies a whole message."""
    assert bubbles_of(f"{LONG}\n\n*482913*\n\n{LAST}", 3) == (LONG, "*482913*", LAST)


def test_no_more_than_are_allowed_and_the_shortest_neighbours_go_together():
    text = f"Oi!\n\n{LONG}\n\n{MORE}\n\n{LAST}"
    assert bubbles_of(text, 3) == (f"Oi!\n\n{LONG}", MORE, LAST)
    assert bubbles_of(text, 2) == (f"Oi!\n\n{LONG}", f"{MORE}\n\n{LAST}")


def test_one_is_off():
    text = f"{LONG}\n\n{MORE}"
    assert bubbles_of(text, 1) == (text,)


def test_a_short_reply_is_one_message():
    assert bubbles_of("Oi, Maria!\n\nTudo bem?", 3) == ("Oi, Maria!\n\nTudo bem?",)


@pytest.mark.parametrize(
    "whole",
    [
        "Temos os seguintes bolos:\n\n- cenoura\n- fubá",
        "- cenoura com cobertura\n\n- fubá cremoso\n\n- chocolate",
        "1\ufe0f\u20e3 Cenoura com nozes\n\n2\ufe0f\u20e3 Fubá\n\n3\u20e3 Chocolate com cobertura",
        "O valor do bolo inteiro é de\n\n45 reais",
        "1. Escolha o bolo\n\n2. Mande o endereço\n\n3. Pague na entrega",
        "1. Escolha o bolo\n\nHá dois.\n\n2. Mande o endereço\n\nCom o CEP.\n\n*3.* Pague",
        "🍰 Bolo de cenoura\n\n🍪 Biscoito de polvilho",
        "*Entrega:* amanhã\n\n*Pagamento:* Pix",
        "*Como é a entrega*\n\nEntregamos na região central da cidade, das nove às dezoito horas.",
        "Segunda a sexta: 8h às 18h\n\nSábado: 8h às 12h\n\nDomingo: fechado",
        "\u0661. كعكة الجزر\n\n\u0662. خبز طازج",
        "> quanto custa\n\n> e entrega?",
        "O endereço do cardápio\n\nhttps://padaria.example/cardapio",
        "Bolo de cenoura grande\n\nR$ 45,00",
        "Bolo de cenoura: R$ 45\n\nBolo de fubá: R$ 30\n\nTorta: R$ 80",
        "Veja o código\n```\na = 1\n\nb = 2\n\nc = 3\n```",
        "- item que continua\n\n  aqui embaixo",
        "Fica na Rua das Flores, 10,\n\nperto da praça.",
    ],
)
def test_what_belongs_together_stays_together(whole: str):
    text = f"{LONG}\n\n{whole}\n\n{LAST}"
    assert any(whole in bubble for bubble in bubbles_of(text, 10)), bubbles_of(text, 10)


def test_what_stands_around_a_list_is_not_a_part_of_it():
    menu = "Temos:\n\n- cenoura\n\n- fubá"
    assert bubbles_of(f"{LONG}\n\n{menu}\n\n{LAST}", 5) == (LONG, menu, LAST)


PIECES = st.sampled_from(
    [
        *(LONG, MORE, LAST, "Oi!", "- cenoura", "1. um", "> disse", "https://a.example/x"),
        *("R$ 45,00", "Temos:", "```", "a = 1", "  recuado", "🍰 bolo", "*Hoje*", "|a|b|"),
    ]
)
GAPS = st.sampled_from(["\n", "\n\n", "\n \n", "\n\n\n", "\n\t\n  "])


@st.composite
def replies(draw: st.DrawFn) -> str:
    pieces = draw(st.lists(st.tuples(PIECES, GAPS), min_size=1, max_size=60))
    return "".join(piece + gap for piece, gap in pieces).strip()


@given(st.one_of(replies(), st.text(max_size=600)), st.integers(1, 10))
def test_nothing_is_lost_changed_or_said_twice(text: str, most: int):
    assume(text.strip())
    (whole, *_) = split_reply(text)
    bubbles = bubbles_of(whole, most)
    assert 1 <= len(bubbles) <= most
    assert all(len(bubble) <= WHATSAPP_LIMIT for bubble in bubbles)
    rest = whole
    for bubble in bubbles:
        before, found, rest = rest.partition(bubble)
        assert found
        assert not before.strip()
    assert not rest
    assert all(bubble.strip() for bubble in bubbles)


@given(replies(), st.integers(2, 10))
def test_no_code_list_or_link_is_divided(text: str, most: int):
    (whole, *_) = split_reply(text)
    if whole.count("```") % 2 == 0:
        assert all(bubble.count("```") % 2 == 0 for bubble in bubbles_of(whole, most))
    for before, after in zip(bubbles_of(whole, most), bubbles_of(whole, most)[1:], strict=False):
        ends, begins = before.splitlines()[-1], after.splitlines()[0]
        assert not (re.match(r"(- |1\. |> )", ends) and re.match(r"(- |1\. |> )", begins))
        assert not begins.startswith(("https://", "R$"))


def test_very_many_paragraphs_are_no_work():
    text = "\n\n".join(["Ab"] * 1300)[:4096]
    assert len(bubbles_of(text, 3)) == 3


@pytest.mark.parametrize("sign", ["@", "a@", "@.", "www.", "$", "a"])
def test_whatever_it_is_made_of_it_is_divided_at_once(sign: str):
    began = process_time()
    bubbles_of(f"{LONG}\n\n{sign * 3000}\n\n{LAST}", 3)
    assert process_time() - began < 2
