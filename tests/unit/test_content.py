"""What the LLM sees of each type of message."""

import pytest

from router.intake.events import parse_webhook
from router.whatsapp.content import innermost, read_content
from router.whatsapp.reading import Reading
from tests.fixtures import webhook
from tests.for_each import for_each


def message(name: str) -> dict:
    body = webhook(name)
    (event,) = parse_webhook(body["instance"], body).events
    return event


def read(content: dict, message_type: str | None = None) -> Reading | None:
    return read_content(innermost(content), message_type)


@for_each(
    ("name", "kind", "text"),
    [
        ("messages_upsert__text", "text", "bom dia, tem pão de queijo?"),
        ("messages_upsert__quoted", "text", "vi esse bolo https://bolos.example/42"),
        (
            "messages_upsert__ad_referral",
            "text",
            "quero saber do combo\n[came from the ad: Combo da manhã \u2013 Café e pão na chapa]",
        ),
        ("messages_upsert__image_captioned", "image", '[image: "é este bolo"]'),
        ("messages_upsert__cloud_image", "image", '[image: "meu exame"]'),
        ("messages_upsert__view_once", "image", "[image]"),
        ("messages_upsert__video", "video", "[video, 8 seconds]"),
        ("messages_upsert__voice_message", "ptt", "[voice message, 11 seconds]"),
        ("messages_upsert__cloud_voice_message", "ptt", "[voice message]"),
        (
            "messages_upsert__transcribed_voice_message",
            "ptt",
            '[voice message, 9 seconds: "vocês abrem no domingo?"]',
        ),
        ("messages_upsert__document", "document", '[document "orcamento.pdf"]'),
        (
            "messages_upsert__document_captioned",
            "document",
            '[document "orcamento.pdf": veja por favor]',
        ),
        ("messages_upsert__sticker", "sticker", "[sticker]"),
        (
            "messages_upsert__location",
            "location",
            "[location: Mercado Central, Av. das Flores, 10 (-22.9068, -43.1729)]",
        ),
        ("messages_upsert__cloud_location", "location", "[location: -3, -60]"),
        (
            "messages_upsert__contact_card",
            "contact",
            "[contact card: Dona Célia, +55 21 95550-9876]",
        ),
        ("messages_upsert__list_reply", "list_reply", "Bolo médio (serve dez)"),
        ("messages_upsert__button_reply", "button_reply", "Quero"),
        ("messages_upsert__cloud_button_reply", "button_reply", "Quero"),
        ("messages_upsert__template_button_reply", "button_reply", "Confirmar"),
        ("messages_upsert__interactive_reply", "interactive_reply", "Quero"),
        ("messages_upsert__cloud_interactive_reply", "interactive_reply", "Quero"),
        ("messages_upsert__reaction", "reaction", "[reacted 👍]"),
        ("messages_upsert__cloud_reaction", "reaction", "[reacted 👍]"),
        ("messages_upsert__poll", "poll", "[poll: Qual recheio? \u2013 Morango / Chocolate]"),
        ("messages_upsert__poll_vote", "poll_vote", "[voted: Chocolate]"),
        ("messages_upsert__ephemeral", "text", "essa mensagem some"),
        ("messages_upsert__owner_android", "text", "oi, aqui é a gerente"),
        ("send_message__text", "text", "Temos sim, fresquinho!"),
        ("send_message__reaction", "reaction", "[reacted 👍]"),
    ],
)
def test_each_captured_message_is_told_in_clear_words(name, kind, text):
    event = message(name)
    assert (event["kind"], event["text"]) == (kind, text)
    assert event["expects_reply"] is (kind not in ("reaction", "poll_vote"))


def test_a_quote_stands_beside_the_text_not_in_it():
    assert message("messages_upsert__quoted")["quoted"] == {
        "wa_id": "3EB0F00D",
        "text": "Temos três tamanhos.",
    }
    assert message("send_message__quoted")["quoted"] == {"wa_id": "3EB0F00D", "text": "boa tarde"}
    assert message("messages_upsert__text")["quoted"] is None


def test_a_reaction_and_a_vote_say_which_message_they_are_about():
    assert message("messages_upsert__reaction")["quoted"] == {"wa_id": "3EB0F00D", "text": None}
    assert message("messages_upsert__poll_vote")["quoted"] == {
        "wa_id": "3EB0F00DCAFE",
        "text": None,
    }


def test_the_cloud_channel_names_what_was_answered_by_its_id_alone():
    quoted = message("messages_upsert__cloud_button_reply")["quoted"]
    assert quoted["wa_id"].startswith("wamid.")
    assert quoted["text"] is None


@pytest.mark.parametrize(
    ("name", "media"),
    [
        (
            "messages_upsert__image_captioned",
            {
                "mimetype": "image/jpeg",
                "file_name": None,
                "seconds": None,
                "bytes": 48213,
                "ptt": False,
                "caption": "é este bolo",
            },
        ),
        (
            "messages_upsert__voice_message",
            {
                "mimetype": "audio/ogg; codecs=opus",
                "file_name": None,
                "seconds": 11,
                "bytes": 48213,
                "ptt": True,
                "caption": None,
            },
        ),
        (
            "messages_upsert__document_captioned",
            {
                "mimetype": "application/pdf",
                "file_name": "orcamento.pdf",
                "seconds": None,
                "bytes": 48213,
                "ptt": False,
                "caption": "veja por favor",
            },
        ),
        (
            "messages_upsert__cloud_voice_message",
            {
                "mimetype": "audio/ogg; codecs=opus",
                "file_name": None,
                "seconds": None,
                "bytes": None,
                "ptt": True,
                "caption": None,
            },
        ),
        ("messages_upsert__location", None),
        ("messages_upsert__text", None),
    ],
)
def test_media_is_described_without_its_bytes_and_keys(name, media):
    assert message(name)["media"] == media


@for_each(
    ("content", "kind", "text"),
    [
        ({"extendedTextMessage": {"text": "com link"}}, "text", "com link"),
        ({"imageMessage": {}}, "image", "[image]"),
        ({"videoMessage": {"gifPlayback": True, "seconds": 3}}, "video", "[GIF]"),
        (
            {"videoMessage": {"seconds": 1, "caption": " veja "}},
            "video",
            '[video, 1 second: "veja"]',
        ),
        ({"ptvMessage": {"seconds": 5}}, "video", "[video note, 5 seconds]"),
        ({"audioMessage": {"seconds": "62"}}, "audio", "[audio, 62 seconds]"),
        ({"audioMessage": {"seconds": -4, "voice": True}}, "ptt", "[voice message]"),
        ({"documentMessage": {}}, "document", "[document]"),
        (
            {"documentMessage": {"filename": "a.pdf", "caption": "a.pdf"}},
            "document",
            '[document "a.pdf"]',
        ),
        ({"documentMessage": {"caption": "só isto"}}, "document", "[document: só isto]"),
        ({"locationMessage": {}}, "location", "[location]"),
        ({"locationMessage": {"name": "Praça\n Sé"}}, "location", "[location: Praça Sé]"),
        (
            {"liveLocationMessage": {"degreesLatitude": -22.5, "degreesLongitude": -43}},
            "location",
            "[live location: -22.5, -43]",
        ),
        ({"contactMessage": {}}, "contact", "[contact card]"),
        (
            {
                "contactMessage": {
                    "vcard": "BEGIN:VCARD\r\nFN:Rui\r\nTEL;TYPE=CELL:+1 555\r\nEND:VCARD"
                }
            },
            "contact",
            "[contact card: Rui, +1 555]",
        ),
        (
            {
                "contactsArrayMessage": {
                    "contacts": [{"displayName": "Rui"}, {"displayName": "Lia"}, 7]
                }
            },
            "contact",
            "[contact cards: Rui; Lia]",
        ),
        ({"listResponseMessage": {"title": "Bolo"}}, "list_reply", "Bolo"),
        (
            {"listResponseMessage": {"singleSelectReply": {"selectedRowId": "r2"}}},
            "list_reply",
            "[chose: r2]",
        ),
        ({"buttonsResponseMessage": {"selectedButtonId": "sim"}}, "button_reply", "[chose: sim]"),
        ({"templateButtonReplyMessage": {}}, "button_reply", "[chose]"),
        (
            {
                "interactiveResponseMessage": {
                    "body": {"text": "Enviado"},
                    "nativeFlowResponseMessage": {
                        "name": "flow",
                        "paramsJson": '{"flow_token": "t", "eu": "Ana", "dia": 3, "e": ["a", "b"]}',
                    },
                }
            },
            "interactive_reply",
            "[form filled in: eu: Ana; dia: 3; e: a, b]",
        ),
        (
            {
                "interactiveResponseMessage": {
                    "nativeFlowResponseMessage": {"name": "quick_reply", "paramsJson": "{not json"}
                }
            },
            "interactive_reply",
            "[chose: quick_reply]",
        ),
        ({"reactionMessage": {"text": ""}}, "reaction", "[took a reaction back]"),
        ({"pollUpdateMessage": {"vote": {"encPayload": "x"}}}, "poll_vote", "[voted in a poll]"),
        ({"pollCreationMessageV2": {"name": "Dia?"}}, "poll", "[poll: Dia?]"),
        ({"pollCreationMessageV4": {"message": {"pollCreationMessageV3": {}}}}, "poll", "[poll]"),
        (
            {"groupInviteMessage": {"groupName": "Clube", "caption": "entra"}},
            "unsupported",
            "[group invite: Clube, entra]",
        ),
        (
            {
                "orderMessage": {
                    "itemCount": 2,
                    "totalAmount1000": {"low": 59900, "high": 0},
                    "totalCurrencyCode": "BRL",
                    "message": "para hoje",
                }
            },
            "unsupported",
            "[order: 2 items, 59.90 BRL, para hoje]",
        ),
        (
            {"orderMessage": {"product_items": [{"product_retailer_id": "SKU-1", "quantity": 3}]}},
            "unsupported",
            "[order: 3 x SKU-1]",
        ),
        (
            {"productMessage": {"product": {"title": "Torta", "priceAmount1000": 80000}}},
            "unsupported",
            "[product: Torta, 80.00]",
        ),
        (
            {
                "requestPaymentMessage": {
                    "amount1000": 10500,
                    "currencyCodeIso4217": "BRL",
                    "noteMessage": {"extendedTextMessage": {"text": "sinal"}},
                }
            },
            "unsupported",
            "[payment: 10.50 BRL, sinal]",
        ),
        (
            {"eventMessage": {"name": "Prova", "startTime": {"low": 1788928000, "high": 0}}},
            "unsupported",
            "[event: Prova, 2026-09-09T04:26:40+00:00]",
        ),
        (
            {"eventMessage": {"name": "Prova", "isCanceled": True, "location": {"name": "Sala 2"}}},
            "unsupported",
            "[cancelled event: Prova, Sala 2]",
        ),
        (
            {"callLogMesssage": {"isVideo": True, "callOutcome": "MISSED"}},
            "unsupported",
            "[missed video call]",
        ),
        ({"callLogMesssage": {"callOutcome": 0}}, "unsupported", "[call]"),
        (
            {"placeholderMessage": {"type": "MASK_LINKED_DEVICES"}},
            "unsupported",
            "[message that can only be opened on the phone]",
        ),
        ({"requestPhoneNumberMessage": {}}, "unsupported", "[asks for the phone number]"),
        (
            {"brandNewMessage": {"some": "thing"}},
            "unsupported",
            "[message of a type that cannot be shown here: brandNewMessage]",
        ),
        ({"odd name\n": {}}, "unsupported", "[message of a type that cannot be shown here]"),
        (
            {
                "buttonsMessage": {
                    "contentText": "Confirma?",
                    "buttons": [
                        {"buttonText": {"displayText": "Sim"}},
                        {"buttonText": {"displayText": "Não"}},
                    ],
                }
            },
            "text",
            "Confirma?\n[offers: Sim / Não]",
        ),
        (
            {
                "listMessage": {
                    "title": "Sabores",
                    "description": "Escolha um",
                    "sections": [{"rows": [{"title": "Coco"}, {"title": "Uva"}]}],
                }
            },
            "text",
            "Sabores\nEscolha um\n[offers: Coco / Uva]",
        ),
        (
            {
                "templateMessage": {
                    "hydratedTemplate": {
                        "hydratedContentText": "Seu pedido saiu",
                        "hydratedButtons": [
                            {"quickReplyButton": {"displayText": "Ok"}, "index": 1}
                        ],
                    }
                }
            },
            "text",
            "Seu pedido saiu\n[offers: Ok]",
        ),
        (
            {
                "interactiveMessage": {
                    "header": {"title": "Oi"},
                    "body": {"text": "Pagar agora?"},
                    "nativeFlowMessage": {
                        "buttons": [{"buttonParamsJson": '{"display_text": "Pix"}'}]
                    },
                }
            },
            "text",
            "Oi\nPagar agora?\n[offers: Pix]",
        ),
        ({"templateMessage": {}}, "unsupported", "[menu]"),
    ],
)
def test_types_that_were_not_captured_are_told_as_well(content, kind, text):
    reading = read(content)
    assert reading is not None
    assert (reading.kind, reading.text) == (kind, text)


@pytest.mark.parametrize(
    "wrapper",
    [
        "ephemeralMessage",
        "viewOnceMessage",
        "viewOnceMessageV2",
        "viewOnceMessageV2Extension",
        "documentWithCaptionMessage",
        "editedMessage",
        "deviceSentMessage",
        "lottieStickerMessage",
        "associatedChildMessage",
        "someWrapperOfNextYear",
    ],
)
def test_a_wrapped_message_is_read_as_if_it_were_not(wrapper):
    wrapped = {wrapper: {"message": {"conversation": "dentro"}}, "messageContextInfo": {"v": 2}}
    twice = {"ephemeralMessage": {"message": wrapped}}
    assert read(wrapped) == read(twice) == Reading("text", "dentro")


def test_wrappers_without_end_are_not_followed_for_ever():
    message: dict = {"conversation": "bem fundo"}
    for _ in range(500):
        message = {"ephemeralMessage": {"message": message}}
    reading = read(message)
    assert reading is not None
    assert reading.kind == "unsupported"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"conversation": ""},
        {"conversation": " \n"},
        {"conversation": None, "messageContextInfo": {}},
        {"extendedTextMessage": {"text": 7}},
        {"senderKeyDistributionMessage": {"groupId": "1@g.us"}},
        {"messageContextInfo": {"messageSecret": {"0": 1}}},
        {"protocolMessage": {"type": "HISTORY_SYNC_NOTIFICATION"}},
        {"secretEncryptedMessage": {"targetMessageKey": {}}},
        {"encReactionMessage": {"encPayload": "x"}},
        {"base64": "aGk="},
        {"imageMessage": None},
        {"unknown": "scalar"},
    ],
)
def test_what_says_nothing_is_not_a_message(content):
    assert read(content) is None


def test_sender_keys_beside_a_text_do_not_hide_it():
    content = {
        "senderKeyDistributionMessage": {"groupId": "1@g.us"},
        "imageMessage": {"caption": "a"},
    }
    assert read(content) == read({"imageMessage": {"caption": "a"}})


@pytest.mark.parametrize(
    ("message_type", "content", "text"),
    [
        ("imageMessage", {"base64": None, "mediaUrl": "https://media.example/1.jpg"}, "[image]"),
        ("documentMessage", {"base64": "aGk="}, "[document]"),
        (
            "buttonMessage",
            {"body": "Confirma?", "buttons": [{"displayText": "Sim"}]},
            "Confirma?\n[offers: Sim]",
        ),
        (
            "interactiveMessage",
            {},
            "[message of a type that cannot be shown here: interactiveMessage]",
        ),
    ],
)
def test_where_the_content_does_not_say_its_type_evolution_does(message_type, content, text):
    reading = read(content, message_type)
    assert reading is not None
    assert reading.text == text


def test_a_quoted_picture_is_told_like_a_picture():
    body = webhook("messages_upsert__quoted")
    body["data"]["contextInfo"]["quotedMessage"] = {
        "viewOnceMessage": {"message": {"imageMessage": {}}}
    }
    (event,) = parse_webhook("padaria", body).events
    assert event["quoted"] == {"wa_id": "3EB0F00D", "text": "[image]"}


def test_the_context_of_a_wrapped_message_is_found_inside_it():
    body = webhook("messages_upsert__ephemeral")
    content = body["data"]["message"]["ephemeralMessage"]["message"]["extendedTextMessage"]
    content["contextInfo"] = {
        "stanzaId": "3EB0AB",
        "externalAdReply": {"sourceUrl": "https://ad.example"},
    }
    (event,) = parse_webhook("padaria", body).events
    assert event["quoted"] == {"wa_id": "3EB0AB", "text": None}
    assert event["text"] == "essa mensagem some\n[came from the ad: https://ad.example]"


def test_an_ad_referral_without_a_word_is_still_a_message():
    body = webhook("messages_upsert__ad_referral")
    body["data"]["message"] = {"conversation": ""}
    (event,) = parse_webhook("padaria", body).events
    assert event["text"] == "[came from the ad: Combo da manhã \u2013 Café e pão na chapa]"


def test_a_very_long_text_is_kept_whole():
    body = webhook("messages_upsert__text")
    body["data"]["message"] = {"conversation": "ã" * 65_536}  # as long as WhatsApp takes any
    (event,) = parse_webhook("padaria", body).events
    assert event["text"] == "ã" * 65_536


def test_what_postgresql_cannot_store_is_taken_out():
    body = webhook("messages_upsert__text")
    body["data"]["message"] = {"conversation": "a\x00b \ud83d c 😀"}
    body["data"]["pushName"] = "Be\x00a\udc00"
    (event,) = parse_webhook("padaria", body).events
    assert event["text"] == "ab \ufffd c 😀"
    assert event["author_name"] == "Bea\ufffd"
