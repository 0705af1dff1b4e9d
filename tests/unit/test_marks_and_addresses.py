"""Bold beside punctuation and where words have no spaces, addresses as written, lists' numbers."""
# ruff: noqa: RUF001 - Chinese has a colon of its own

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it.token import Token

from router.replies.parts import parts_of
from router.whatsapp import markdown
from router.whatsapp.markdown import to_whatsapp
from router.whatsapp.splitting import finish_truncated, split_reply
from tests.for_each import for_each


@for_each(
    ("markdown", "shown"),
    [
        ("**Preço:**R$ 32,00", "*Preço:* R$ 32,00"),
        ("**注意：**营业时间", "*注意：* 营业时间"),
        ("请**注意**事项", "请 *注意* 事项"),
        ("これは**大事。**です", "これは *大事。* です"),
        ("texto**(importante)**texto", "texto *(importante)* texto"),
        ("**Atenção!**Hoje fechamos", "*Atenção!* Hoje fechamos"),
        ('**"Aspas"**e mais', '*"Aspas"* e mais'),
        ("total:**R$ 32**", "total:*R$ 32*"),
        ("__Preço:__R$ 32", "*Preço:* R$ 32"),
        ("**10**kg e **2**un", "10kg e 2un"),
        ("pa**la**vra", "palavra"),
        ("****muito****", "*muito*"),
        ("**um **dois** três**", "*um dois três*"),
        ("**a** **b**, **c**.", "*a* *b*, *c*."),
        ("**Olá,** Maria", "*Olá,* Maria"),
        ("de ~~R$ 20~~por R$ 10", "de R$ 20por R$ 10"),
        ("2**3 e __init__.py", "2**3 e *init*.py"),
        ("2 ** 3 ** 4", "2 ** 3 ** 4"),
        ("*já é do WhatsApp:*assim", "*já é do WhatsApp:*assim"),
        ("- **Bolo:**R$ 32\n- **Torta:**R$ 45", "- *Bolo:* R$ 32\n- *Torta:* R$ 45"),
    ],
)
def test_bold_is_bold_on_the_phone(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@given(
    before=st.sampled_from(["", "a", " ", "：", "(", "字"]),
    inner=st.text("ab字：:!1", min_size=1, max_size=4),
    after=st.sampled_from(["", "b", " ", "。", ")", "字"]),
)
def test_no_double_star_reaches_the_phone(before: str, inner: str, after: str) -> None:
    shown = to_whatsapp(f"x {before}**{inner}**{after} y")
    assert "**" not in shown
    assert re.sub(r"[\s*]", "", shown) == re.sub(r"\s", "", f"x{before}{inner}{after}y")
    assert not re.search(r"[a-z字]\*[a-z字]", shown)


ADDRESSES = [
    "https://loja.example/a_b_c?x=1&y=2",
    "https://loja.example/__init__/x",
    "https://loja.example/a**b**c",
    "https://loja.example/a*b*c_d_",
    "https://loja.example/?a=1&copy;=2&lt;=3&amp;b=4",
    "https://loja.example/~~x~~/y",
    "https://loja.example/pão/%C3%A3o?q=%20",
    "http://127.0.0.1:8080/a_b_",
    "whatsapp://send?text=a_b__c__d",
    "https://wa.me/5511955550001?text=Ol%C3%A1*_*x",
]


@for_each("address", ADDRESSES)
@for_each(
    ("markdown", "shown"),
    [
        ("{}", "{}"),
        ("veja {} sim", "veja {} sim"),
        ("veja ({}).", "veja ({})."),
        ("**Site:** {} e **mais**", "*Site:* {} e *mais*"),
        ("**{} aqui**", "*{} aqui*"),
        ("- {}\n- dois", "- {}\n- dois"),
        ("> {}", "> {}"),
    ],
)
def test_a_bare_address_stays_byte_for_byte(address: str, markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown.format(address)) == shown.format(address)


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**https://loja.example**", "*https://loja.example*"),
        ("**https://loja.example/a_b**, sim", "*https://loja.example/a_b*, sim"),
        ("[site](https://loja.example/a_b__c__)", "site (https://loja.example/a_b__c__)"),
        ("[pão](https://loja.example/pão?a=%20)", "pão (https://loja.example/pão?a=%20)"),
        ("<https://loja.example/a_b__c__>", "https://loja.example/a_b__c__"),
        ("[https://loja.example/__a__](https://loja.example/__a__)", "https://loja.example/__a__"),
        ("às 10:**30**", "às 10:*30*"),
        ("nota: //**sim**", "nota: //*sim*"),
    ],
)
def test_what_stands_around_an_address_is_still_marked(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("1. Bolo\n3. Torta\n7. Pão", "1. Bolo\n3. Torta\n7. Pão"),
        ("0. zero\n1. um", "0. zero\n1. um"),
        ("2. dois\n1. um", "2. dois\n1. um"),
        ("1. um\n1. um também\n1. e um", "1. um\n2. um também\n3. e um"),
        ("9) nove\n11) onze", "9) nove\n11) onze"),
        ("1. um\n   - a\n   - b\n4. quatro", "1. um\n   - a\n   - b\n4. quatro"),
        ("2024. Foi um bom ano", "2024. Foi um bom ano"),
        ("1. um\n\ntexto\n\n5. cinco\n6. seis", "1. um\n\ntexto\n\n5. cinco\n6. seis"),
    ],
)
def test_a_list_keeps_its_numbers(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


def test_no_part_ends_with_the_number_of_the_next_item() -> None:
    text = "Segue a lista: " + "palavra " * 3 + "\n10. Bolo de cenoura com cobertura\n11. Torta"
    for limit in range(32, 90):
        for part in split_reply(text, limit)[:-1]:
            assert not re.search(r"(?:^|\n)\d+\.$", part), (limit, part)


def test_a_reply_that_was_cut_off_does_not_end_with_a_number() -> None:
    assert finish_truncated("1. Bolo\n2. Torta\n3. Pã") == "1. Bolo\n2. Torta"
    assert finish_truncated("Temos:\n1. Bolo de cenoura\n2.") == "Temos:\n1. Bolo de cenoura"


def test_the_way_of_a_reply_has_all_of_it() -> None:
    said = "**Preço:**R$ 32,00 e **注意：**营业时间"
    assert parts_of(said) == ("*Preço:* R$ 32,00 e *注意：* 营业时间",)


class Counted(list[Token]):
    """Tokens that count how many of them are looked at, or copied."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        Counted.looks += len(found) if isinstance(at, slice) else 1
        return found


@pytest.mark.parametrize("absurd", ["https://", "a://b ", "**a", "a://*", "__a:", "**字"])
def test_the_work_grows_as_the_text_does(absurd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    span = markdown._span
    monkeypatch.setattr(Counted, "looks", 0)
    monkeypatch.setattr(
        markdown, "_span", lambda tokens, in_bold: span(Counted(tokens), in_bold=in_bold)
    )
    text = (absurd * 20_000)[:40_000]
    to_whatsapp(text)
    assert Counted.looks <= 2 * len(text)
