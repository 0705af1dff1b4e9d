"""Markdown into WhatsApp's marks."""

from threading import get_ident

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline

from router.replies.parts import parts_of, prepared
from router.whatsapp.chat_markdown import chat_parser
from router.whatsapp.markdown import to_whatsapp
from tests.for_each import for_each

LETTERS = "abcdefghijklmnopqrstuvwxyzáçéíõúABCÇÉ0123456789"
WORD = st.text(LETTERS, min_size=1, max_size=8)
LINE = st.lists(WORD, min_size=1, max_size=8).flatmap(
    lambda words: st.sampled_from(",.!?:;%$()/'\"@…👍").map(
        lambda mark: words[0] + mark.join(["", *words[1:]]) + f" {' '.join(words)}{mark}"
    )
)
PROSE = st.lists(st.lists(LINE, min_size=1, max_size=3).map("\n".join), max_size=4).map("\n\n".join)


@given(text=st.one_of(st.text(), st.text("*_~`#->|[]()!<\n 1.ab\\&\t")))
def test_it_never_raises_and_leaves_no_outer_space(text: str) -> None:
    shown = to_whatsapp(text)
    assert shown == shown.strip()


@given(text=PROSE)
def test_plain_prose_stays_as_it_is(text: str) -> None:
    # A line that begins like "1." or "1)" is a list, whose lines are joined differently.
    if not any(line[:1].isdigit() for line in text.splitlines()):
        assert to_whatsapp(text) == text


@given(text=st.text("*_~`#->|![]()\n ab", max_size=80))
def test_no_letter_is_lost(text: str) -> None:
    if "`" not in text and "](" not in text:  # the name of a code block's language goes
        shown = to_whatsapp(text)
        assert [c for c in shown if c in "ab"] == [c for c in text if c in "ab"]


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("isto é **importante** sim", "isto é *importante* sim"),
        ("isto é __importante__ sim", "isto é *importante* sim"),
        ("isto é _assim_ sim", "isto é _assim_ sim"),
        ("já em *negrito do WhatsApp* aqui", "já em *negrito do WhatsApp* aqui"),
        ("**negrito** e *itálico*", "*negrito* e _itálico_"),
        ("***os dois***", "_*os dois*_"),
        ("**um *dentro* do outro**", "*um _dentro_ do outro*"),
        ("de ~~R$ 20~~ por R$ 10", "de ~R$ 20~ por R$ 10"),
        ("use `pix` aqui", "use `pix` aqui"),
        ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
        ("o arquivo nota_fiscal_final.pdf", "o arquivo nota_fiscal_final.pdf"),
        ("a < b e <b>c</b>", "a < b e <b>c</b>"),
        ("uma<br>duas<br/>três<BR />", "uma\nduas\ntrês"),
        ("`<br>` fica", "`<br>` fica"),
        ("pão & queijo &amp; café", "pão & queijo & café"),
        (r"5\* de 5\*", "5* de 5*"),
    ],
)
def test_marks_within_a_line(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("veja [o site](https://loja.example/a)", "veja o site (https://loja.example/a)"),
        ("veja [https://loja.example](https://loja.example)", "veja https://loja.example"),
        ("veja <https://loja.example/pão>", "veja https://loja.example/pão"),
        ("veja https://loja.example/a_b_c?x=1&y=2", "veja https://loja.example/a_b_c?x=1&y=2"),
        ("escreva a [oi@loja.example](mailto:oi@loja.example)", "escreva a oi@loja.example"),
        ("ligue [para nós](tel:+551140000000)", "ligue para nós (+551140000000)"),
        ("[**forte**](https://loja.example)", "*forte* (https://loja.example)"),
        ("[sem destino]()", "sem destino"),
        ("![um pão](https://loja.example/p.png)", "um pão (https://loja.example/p.png)"),
        ("![](https://loja.example/p.png)", "https://loja.example/p.png"),
        ("[nota]: https://loja.example", "[nota]: https://loja.example"),
        ("um [sticker] qualquer", "um [sticker] qualquer"),
    ],
)
def test_links_show_where_they_lead(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@for_each(
    ("markdown", "shown"),
    [
        ("# Título\ntexto", "*Título*\n\ntexto"),
        ("### Um **forte** e *leve* 5 * 3", "*Um forte e _leve_ 5 * 3*"),
        ("#", ""),
        ("#pão não é título", "#pão não é título"),
        ("* um\n* dois", "- um\n- dois"),
        ("+ um\n+ dois", "- um\n- dois"),
        ("- um\n  - dentro\n- dois", "- um\n   - dentro\n- dois"),
        ("1. um\n1. dois\n1. três", "1. um\n2. dois\n3. três"),
        ("3. três\n4. quatro", "3. três\n4. quatro"),
        ("1) um\n2) dois", "1) um\n2) dois"),
        ("- um\n\n- dois", "- um\n- dois"),
        ("> uma citação\n> em duas linhas", "> uma citação\n> em duas linhas"),
        (">", ""),
        ("antes\n\n---\n\ndepois", "antes\n\ndepois"),
        ("antes\n---\ndepois", "antes\n\ndepois"),
        ("```python\nx = 1\n\n    y = **2**\n```", "```\nx = 1\n\n    y = **2**\n```"),
        ("```\nsem fim", "```\nsem fim\n```"),
        ("```\n```", ""),
        ("um\n\n\n\ndois", "um\n\ndois"),
        ("    quatro espaços", "quatro espaços"),
        ("linha um  \nlinha dois", "linha um\nlinha dois"),
    ],
)
def test_blocks(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (["| Pão | Preço |", "|---|---|", "| Francês | 1,00 |", "| Doce | **2,00** |"],
         "*Pão | Preço*\nFrancês | 1,00\nDoce | *2,00*"),
        (["| | Preço |", "|---|---|", "| Doce | |", "| | |"], "*Preço*\nDoce"),
        (["| | |", "|---|---|", "| a | b |"], "a | b"),
        (["| **A** | B |", "|---|---|"], "*A | B*"),
    ],
)  # fmt: skip
def test_tables_become_lines(rows: list[str], shown: str) -> None:
    assert to_whatsapp("\n".join(rows)) == shown


def test_a_whole_answer_reads_well() -> None:
    answer = """## Nossos horários

- **Segunda a sexta**: 8h às 18h
- **Sábado**: 8h às 12h

Mais em [nosso site](https://loja.example)."""
    assert to_whatsapp(answer) == (
        "*Nossos horários*\n\n- *Segunda a sexta*: 8h às 18h\n- *Sábado*: 8h às 12h\n\n"
        "Mais em nosso site (https://loja.example)."
    )


def test_deep_nesting_does_no_harm() -> None:
    assert to_whatsapp("> " * 40 + "fundo").endswith("fundo")
    to_whatsapp("> " * 5000 + "[" * 5000 + "*" * 5000)


ABSURD = {
    "brackets": "[",
    "pictures": "![",
    "links that never close": "[a](",
    "labels that never close": "[a",
    "nested": "[[a](b)",
    "empty": "[]",
    "quoted": "[`",
    "stars between": "[*a ",
    "paragraphs": "[" * 300 + "\n\n",
    "paragraphs of many": "[" * 90 + "\n\n",
}


@pytest.mark.parametrize("absurd", ABSURD)
def test_the_work_grows_as_the_text_does(absurd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    skip = ParserInline.skipToken

    def counting(self: ParserInline, state: StateInline) -> None:
        nonlocal steps
        steps += 1
        skip(self, state)

    monkeypatch.setattr(ParserInline, "skipToken", counting)
    text = (ABSURD[absurd] * 20_000)[:20_000]
    to_whatsapp(text)
    assert steps <= 100 * len(text)


def test_a_paragraph_with_many_links_keeps_them() -> None:
    said = " ".join(f"[{n}](https://padaria.example/{n})" for n in range(80))
    assert to_whatsapp(said).count(" (https://") == 80


def test_what_is_longer_than_any_reply_stays_as_it_is() -> None:
    assert to_whatsapp(" " + "**a** " * 10_000) == ("**a** " * 10_000).strip()
    assert parts_of("**" + "a" * 1_000_000) == ("**" + "a" * 1_000_000,)


async def test_a_long_reply_is_prepared_beside_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def where(text: str) -> tuple[str, ...]:
        threads.append(get_ident())
        return (text,)

    monkeypatch.setattr("router.replies.parts.parts_of", where)
    await prepared("curto")
    await prepared("longo " * 2000)
    assert threads[0] == get_ident() != threads[1]


@pytest.mark.parametrize("columns", [2, 40, 400])
@pytest.mark.parametrize("length", [4_990, 20_000])
def test_a_table_whose_rows_are_mostly_not_written_costs_no_cells(columns: int, length: int):
    text = "|a" * columns + "\n" + "|-" * columns + "\n"
    text += "a\n" * ((length - len(text)) // 2)
    assert len(chat_parser().parse(text)) < 40_000
    if columns > 2:
        assert to_whatsapp(text) == text.strip()


def test_a_wide_table_of_many_rows_is_still_one():
    rows = "\n".join("|" + "x|" * 20 for _ in range(98))
    shown = to_whatsapp("|" + "a|" * 20 + "\n|" + "-|" * 20 + "\n" + rows)
    assert shown.startswith("*a | a")
    assert len(shown.split("\n")) == 99
