"""Addresses without a scheme stay as written; what follows an address at once is still marked."""
# ruff: noqa: RUF001 - Chinese and Japanese have signs of their own

import pytest

from router.whatsapp.markdown import to_whatsapp
from tests.for_each import for_each

ADDRESSES = [
    "instagram.com/__sol__",
    "instagram.com/_padaria_sol_",
    "www.loja.example/__init__/x",
    "loja.example:8080/~~x~~/y",
    "loja.example/?a=1&copy;=2&lt;=3",
    "wa.me/5511955550001?text=a_b__c__d",
]


@for_each("address", ADDRESSES)
@for_each(
    ("markdown", "shown"),
    [
        ("{}", "{}"),
        ("veja {} e **isto**", "veja {} e *isto*"),
        ("veja ({}).", "veja ({})."),
        ("**Site:** {}, sim", "*Site:* {}, sim"),
        ("**{}**", "*{}*"),
        ("- {}\n- dois", "- {}\n- dois"),
    ],
)
def test_an_address_without_a_scheme_stays_as_it_is(
    address: str, markdown: str, shown: str
) -> None:
    assert to_whatsapp(markdown.format(address)) == shown.format(address)


@pytest.mark.parametrize("address", ["https://x.example/a", "https://x.example/a_b_c?d=e__f"])
@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("請看{}，**注意**", "請看{}，*注意*"),
        ("見て：{}。**重要**です", "見て：{}。*重要* です"),
        ("（{}）**注意**", "（{}）*注意*"),
        ("「{}」**注意**", "「{}」*注意*"),
        ("({})**Oi**", "({})*Oi*"),
        ("{},**b**", "{},*b*"),
        ("{}: **b**", "{}: *b*"),
        ("{};__b__ c", "{};*b* c"),
    ],
)
def test_what_follows_an_address_at_once_is_marked(address: str, markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown.format(address)) == shown.format(address)


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("e/ou **isto**", "e/ou *isto*"),
        ("R$ 10.50/kg __hoje__", "R$ 10.50/kg *hoje*"),
        ("Sr./Sra. __Ana__", "Sr./Sra. *Ana*"),
        ("obs.sim/**não**", "obs.sim/*não*"),
        ("pão &amp; bolo", "pão & bolo"),
        ("https://x.example/a_(b)_c", "https://x.example/a_(b)_c"),
    ],
)
def test_what_is_no_address_is_none(markdown: str, shown: str) -> None:
    assert to_whatsapp(markdown) == shown


@pytest.mark.parametrize("absurd", ["x.aa/_", "a.a.a.a.", "a-a-", "x.aa/&", "https://a)(", "(((_"])
def test_the_work_is_bounded(absurd: str) -> None:
    to_whatsapp((absurd * 20_000)[:40_000])
