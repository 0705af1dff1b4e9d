"""What is read aloud, in which words; what stays text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.speech.aloud import MOST_CHARACTERS, MOST_MESSAGES, in_voice, read_aloud
from router.whatsapp.splitting import WHATSAPP_LIMIT


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("*Temos* bolo de _cenoura_ hoje! 🍰😋", "Temos bolo de cenoura hoje!"),
        ("O bolo custa R$ 45,00, e sai às 18h.", "O bolo custa R$ 45,00, e sai às 18h."),
        ("Temos:\n- cenoura\n- fubá", "Temos: cenoura. fubá"),
        ("Oi, Maria 👋🏽\n\nTudo bem?", "Oi, Maria. Tudo bem?"),
        ("É um abre-alas, ok?", "É um abre-alas, ok?"),
        ("\u202eTemos\u202c\u200b bo\u00adlo", "Temos bolo"),
        ("> Você disse:\n>\n> dois", "Você disse: dois"),
        ("A festa é em 12/11/2026, para 1.500 pessoas.",) * 2,
        ("São R$ 12.345,67 ou US$ 1234.50, em 2026.",) * 2,
        ("¡Hola! ~Mañana~ abrimos.", "¡Hola! Mañana abrimos."),
    ],
)
def test_marks_and_signs_are_not_read(text: str, spoken: str):
    assert read_aloud(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "Veja https://padaria.example/cardapio",
        "A chave Pix é 123e4567-e89b-12d3-a456-426614174000",
        "A chave Pix é maria@padaria.example",
        "Ligue para (11) 95555-0001",
        "CNPJ 12.345.678/0001-90",
        "Copie: 00020126580014br.gov.bcb.pix0136",
        "Seu código é AB12CD",
        "```\nbolo = 45\n```",
        "Use `bolo`",
        "Código: *XPTO-99*",
        "Pedido #4821",
        "O pedido 48213 saiu",
        "Seu pedido nº *4821* saiu",
        "Seu código de retirada é 4829.",
        "La contraseña: *991*",
        "Your PIN is 4411",
        "Siga @padaria_bolos",
        "Chave: maria\u200b@padaria.example",
        "| bolo | 45 |",
        "👍🎂",
        "123",
        "a" * (MOST_CHARACTERS + 1),
    ],
)
def test_what_is_to_be_copied_or_looked_at_stays_text(text: str):
    assert read_aloud(text) is None


def test_a_link_follows_as_text():
    text = "Nosso cardápio está em https://padaria.example/c. Qual bolo você quer?"
    assert in_voice(text) == (
        "Nosso cardápio está em. Qual bolo você quer?",
        "https://padaria.example/c",
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Nosso site é padaria.com.br!", "padaria.com.br"),
        ("Veja em padaria.com.br/cardapio.", "padaria.com.br/cardapio"),
        ("Chame em wa.me/5511955550001?text=oi", "wa.me/5511955550001?text=oi"),
        ("Tudo em linktr.ee/padaria", "linktr.ee/padaria"),
    ],
)
def test_an_address_without_a_scheme_is_one(text: str, address: str):
    said = in_voice(text)
    assert said[-1] == address
    assert len(said) == 2


@pytest.mark.parametrize("text", ["Combinado.me avise quando puder", "Abrimos às 8h.até logo"])
def test_a_full_stop_without_a_space_makes_no_address(text: str):
    assert in_voice(text) == (text,)


@pytest.mark.parametrize("pair", ["Oi, tudo bem?\n\nhttps://a.example/x", "Oi\n\n`a`", "👍\n\n🎂"])
def test_what_alternates_for_ever_is_a_few_messages(pair: str):
    said = in_voice("\n\n".join([pair] * 100))
    assert len(said) <= MOST_MESSAGES
    assert sum(each.count(pair[0]) for each in said) == 100
    assert all(len(each) <= WHATSAPP_LIMIT for each in said)


def test_a_key_stays_text_between_what_is_said():
    text = "Pode pagar por Pix.\n\nChave: maria@padaria.example\n\nDepois me avise!"
    assert in_voice(text) == (
        "Pode pagar por Pix.",
        "Chave: maria@padaria.example",
        "Depois me avise!",
    )


def test_paragraphs_are_one_voice_message():
    assert in_voice("Oi, Maria!\n\nTemos bolo.\n\nQuer um?") == (
        "Oi, Maria!\n\nTemos bolo.\n\nQuer um?",
    )


def test_no_voice_message_is_longer_than_a_minute():
    sentence = "Temos bolo de cenoura com cobertura. "
    text = "\n\n".join([(sentence * 10).strip()] * 6)
    said = in_voice(text)
    assert len(said) == 3
    assert all(read_aloud(each) for each in said)


@given(
    st.text(max_size=400), st.lists(st.sampled_from(["oi", "https://a.example/x", "\n\n", "`a`"]))
)
def test_whatever_comes_nothing_is_lost_but_white_space(text: str, more: list[str]):
    whole = " ".join([text, *more]).strip()
    said = in_voice(whole)
    if whole:
        assert said
    for address in ("https://a.example/x",):
        if address in whole.split():
            assert any(address in each for each in said)
    for each in said:
        spoken = read_aloud(each)
        assert spoken is None or "https://" not in spoken
