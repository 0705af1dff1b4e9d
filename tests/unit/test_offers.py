"""Interactive messages, told in brackets: keys, codes, addresses, orders, rows, forms."""

import json
from typing import Any

import pytest

from router.sending.outgoing import Outgoing
from router.whatsapp.content import ad_note, context_of, innermost, read_content, read_quoted
from router.whatsapp.lengths import LONGEST_TEXT


def native(*buttons: tuple[str, Any], body: str = "") -> dict[str, Any]:
    listed = [{"name": name, "buttonParamsJson": json.dumps(given)} for name, given in buttons]
    told = {"body": {"text": body}} if body else {}
    return {"interactiveMessage": told | {"nativeFlowMessage": {"buttons": listed}}}


def read(message: dict[str, Any]) -> str:
    reading = read_content(innermost(message))
    assert reading is not None
    return reading.text


PIX = {"merchant_name": "Padaria Exemplo", "key": "pix@padaria.example", "key_type": "EMAIL"}
ZERO = {"value": 0, "offset": 100}
STATIC = {
    "currency": "BRL",
    "total_amount": ZERO,
    "reference_id": "R1",
    "order": {"status": "pending", "items": [{"name": "", "amount": ZERO, "quantity": 0}]},
    "payment_settings": [{"type": "pix_static_code", "pix_static_code": PIX}],
}
CAKE = {"name": "Bolo de cenoura", "quantity": 2, "amount": {"value": 3200, "offset": 100}}
ORDER = {
    "currency": "BRL",
    "total_amount": {"value": 6400, "offset": 100},
    "reference_id": "R1",
    "order": {"items": [CAKE]},
    "payment_settings": [
        {"pix_dynamic_code": {"code": "0002012658", "merchant_name": "Loja"}},
        {"payment_link": {"uri": "https://pague.example/1"}},
        {"boleto": {"digitable_line": "03399 02601"}},
    ],
}
ROWS = [{"title": "Bolo", "description": "de milho", "id": "1"}, {"title": "Sonho"}]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            native(("payment_info", STATIC)),
            "[Pix key of Padaria Exemplo: pix@padaria.example (EMAIL)]",
        ),
        (
            native(("review_and_pay", ORDER), body="Segue"),
            """Segue
[order R1: 2 x Bolo de cenoura (32.00 BRL), total 64.00 BRL]
[Pix code of Loja: 0002012658]
[link to pay by: https://pague.example/1]
[boleto: 03399 02601]""",
        ),
        (
            native(("cta_copy", {"display_text": "Copiar", "copy_code": "0002012658"}), body="Oi"),
            "Oi\n[offers: Copiar (code: 0002012658)]",
        ),
        (
            native(
                ("cta_url", {"display_text": "Site", "url": "https://loja.example/a_b"}),
                ("cta_call", {"display_text": "Ligar", "phone_number": "+551155550001"}),
                ("quick_reply", {"display_text": "Sim", "id": "s"}),
            ),
            "[offers: Site (https://loja.example/a_b) / Ligar (+551155550001) / Sim]",
        ),
        (
            native(("single_select", {"title": "Ver", "sections": [{"rows": ROWS}]}), body="Menu"),
            "Menu\n[offers: Bolo (de milho) / Sonho]",
        ),
        (
            {"listMessage": {"title": "Menu", "sections": [{"rows": ROWS}]}},
            "Menu\n[offers: Bolo (de milho) / Sonho]",
        ),
        (
            {
                "templateMessage": {
                    "hydratedTemplate": {
                        "hydratedContentText": "Saiu",
                        "hydratedButtons": [
                            {"urlButton": {"displayText": "Ver", "url": "https://l.example"}},
                            {"callButton": {"displayText": "Ligar", "phoneNumber": "+55119"}},
                        ],
                    }
                }
            },
            "Saiu\n[offers: Ver (https://l.example) / Ligar (+55119)]",
        ),
        (
            {
                "templateMessage": {
                    "interactiveMessageTemplate": native(
                        ("cta_copy", {"display_text": "Copiar", "copy_code": "7"}), body="Código"
                    )["interactiveMessage"]
                }
            },
            "Código\n[offers: Copiar (code: 7)]",
        ),
        (
            {
                "highlyStructuredMessage": {
                    "elementName": "x",
                    "hydratedHsm": {"hydratedTemplate": {"hydratedContentText": "Olá"}},
                }
            },
            "Olá",
        ),
        (
            {
                "interactiveMessage": {
                    "body": {"text": "Bolos"},
                    "carouselMessage": {
                        "cards": [
                            native(("quick_reply", {"display_text": "Quero"}), body="Milho")[
                                "interactiveMessage"
                            ],
                            {"body": {"text": "Coco"}},
                        ]
                    },
                }
            },
            "Bolos\nMilho\n[offers: Quero]\nCoco",
        ),
        (
            {
                "buttonsMessage": {
                    "contentText": "Pague",
                    "buttons": [
                        {
                            "buttonText": {"displayText": "Copiar"},
                            "nativeFlowInfo": {
                                "name": "cta_copy",
                                "paramsJson": json.dumps({"copy_code": "123"}),
                            },
                        }
                    ],
                }
            },
            "Pague\n[offers: Copiar (code: 123)]",
        ),
        (native(("payment_info", {})), "[menu]"),
    ],
)
def test_what_is_offered_is_told(message: dict[str, Any], text: str) -> None:
    assert read(message) == text
    assert read({"viewOnceMessage": {"message": message}}) == text


def test_a_form_with_nested_answers_is_told_whole() -> None:
    answers = {
        "flow_token": "x",
        "nome": "Ana",
        "endereco": {"rua": "Rua 1", "numero": 7},
        "sabores": ["milho", {"nome": "coco", "id": 3}],
        "aceita": True,
        "vazio": None,
    }
    message = {
        "interactiveResponseMessage": {
            "nativeFlowResponseMessage": {"name": "flow", "paramsJson": json.dumps(answers)}
        }
    }
    assert read(message) == (
        "[form filled in: nome: Ana; endereco: rua: Rua 1; numero: 7;"
        " sabores: milho, nome: coco; id: 3; aceita: true]"
    )


def _deep(levels: int) -> Any:
    value: Any = "fundo"
    for _ in range(levels):
        value = {"a": [value]}
    return value


ABSURD = {
    "buttons": native(*[("cta_copy", {"display_text": "x" * 200, "copy_code": "y"})] * 5_000),
    "rows": {"listMessage": {"sections": [{"rows": [{"title": "r" * 100}] * 100}] * 300}},
    "items": native(("review_and_pay", {"order": {"items": [CAKE] * 150}})),
    "values": native(("review_and_pay", {"order": {"items": [CAKE] * 20_000}})),
    "deep": native(("cta_copy", _deep(400))),
    "long code": native(("cta_copy", {"display_text": "a", "copy_code": "1" * 60_000})),
    "no JSON": {"interactiveMessage": {"nativeFlowMessage": {"buttons": [
        {"buttonParamsJson": "{" * 60_000}]}}},
    "not lists": {"interactiveMessage": {"nativeFlowMessage": {"buttons": {"a": 1}},
                                         "carouselMessage": {"cards": "x"}}},
    "cards": {"interactiveMessage": {"carouselMessage": {"cards": [
        {"body": {"text": "c" * 5_000}}] * 300}}},
    "huge numbers": native(("review_and_pay", {
        "total_amount": {"value": 10**15, "offset": -7}, "order": {"items": [CAKE]}})),
    "form": {"interactiveResponseMessage": {"nativeFlowResponseMessage": {
        "paramsJson": json.dumps(_deep(200))}}},
}  # fmt: skip


@pytest.mark.parametrize("absurd", ABSURD)
def test_what_is_built_to_crash_phones_is_told_in_bounds(absurd: str) -> None:
    assert len(read(ABSURD[absurd])) <= LONGEST_TEXT


def test_a_code_that_is_too_long_is_not_told_cut() -> None:
    assert read(ABSURD["long code"]) == "[offers: a]"
    assert read(ABSURD["items"]).count("Bolo") == 50
    assert "and 100 more" in read(ABSURD["items"])


@pytest.mark.parametrize(
    ("button", "text"),
    [
        ({"type": "copy", "displayText": "Copiar", "copyCode": "7"}, "Copiar (code: 7)"),
        ({"type": "url", "displayText": "Site", "url": "https://l.example"},
         "Site (https://l.example)"),
        ({"type": "call", "displayText": "Ligar", "phoneNumber": "+5511"}, "Ligar (+5511)"),
    ],
)  # fmt: skip
def test_our_own_sends_tell_the_same(button: dict[str, Any], text: str) -> None:
    body = {"title": "Oi", "description": "d", "footer": "f", "buttons": [button]}
    assert f"[offers: {text}]" in Outgoing.of("message/sendButtons", body).text


def test_our_own_pix_key_is_told() -> None:
    button = {"type": "pix", "currency": "BRL", "name": "Loja", "keyType": "random", "key": "abc"}
    sent = Outgoing.of("message/sendButtons", {"title": "x", "buttons": [button]})
    assert sent.text == "[Pix key of Loja: abc (EVP)]"


# --- where Evolution puts what is quoted, and the ad

DEVICES = {"threadId": [], "deviceListMetadata": {"senderKeyHash": "AA=="}, "messageSecret": "c2U="}
QUOTING = {"stanzaId": "3EB0AA", "quotedMessage": {"conversation": "Bolo de cenoura R$ 32"}}
AD = {"externalAdReply": {"title": "Bolos", "body": "Peça já"}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"contextInfo": QUOTING}, {"conversation": "esse?"}),
        ({"contextInfo": DEVICES}, {"imageMessage": {"contextInfo": QUOTING}}),
        ({"contextInfo": DEVICES}, {"extendedTextMessage": {"text": "a", "contextInfo": QUOTING}}),
        ({"contextInfo": None}, {"conversation": "a", "contextInfo": QUOTING}),
        ({"contextInfo": {"stanzaId": None, "quotedMessage": None}},
         {"imageMessage": {"contextInfo": QUOTING}}),
        ({"contextInfo": {}},
         {"messageContextInfo": DEVICES, "stickerMessage": {"contextInfo": QUOTING}}),
    ],
)  # fmt: skip
def test_a_quote_is_found_wherever_it_stands(data: dict[str, Any], message: dict[str, Any]) -> None:
    quoted = read_quoted(context_of({**data, "message": message}, message), message, None)
    assert quoted == {"wa_id": "3EB0AA", "text": "Bolo de cenoura R$ 32"}


@pytest.mark.parametrize(
    ("context", "note"),
    [
        (AD, "[came from the ad: Bolos \u2013 Peça já]"),
        ({"conversionSource": "FB_Ads", "entryPointConversionSource": "ctwa_ad",
          "entryPointConversionApp": "instagram"}, "[came from an ad (instagram)]"),
        ({"conversionSource": "FB_Ads"}, "[came from an ad]"),
        ({"entryPointConversionSource": "global_search_new_chat"}, ""),
        ({"entryPointConversionSource": "contact_card", "conversionSource": "upload"}, ""),
        ({"conversionSource": 7}, ""),
    ],
)  # fmt: skip
def test_an_ad_is_told_as_far_as_it_is_known(context: dict[str, Any], note: str) -> None:
    assert ad_note(context) == note
    assert (
        ad_note(context_of({"contextInfo": DEVICES}, {"imageMessage": {"contextInfo": context}}))
        == note
    )
