"""What each send of the loopback Evolution is told as: its answer, webhook, record and echo."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Customer, Evolution
from loopback.evolution.contents import ONE_PIXEL, image
from loopback.receiver import WebhookReceiver
from tests.clients import patient

MARIA = "5511988880001"
MARIA_JID = f"{MARIA}@s.whatsapp.net"
TEXT = base64.b64encode(b"%PDF-1.4 not a picture").decode()
OTHER_PICTURE = base64.b64encode(b"\x89PNG another").decode()
KEY = {"remoteJid": MARIA_JID, "fromMe": False, "id": "AC01"}
BUTTONS = [{"type": "reply", "displayText": "Sim", "id": "y"}]
SECTIONS = [{"title": "S1", "rows": [{"title": "Um", "description": "d", "rowId": "r1"}]}]
LIST = {"title": "Menu", "description": "Escolha", "buttonText": "Abrir", "footerText": "Loja"}
CONTACT = [{"fullName": "João", "phoneNumber": "5511900000001"}]
PLACE = {"latitude": -23.5, "longitude": -46.6, "name": "Loja", "address": "Rua"}
VCARD = (
    "BEGIN:VCARD\nVERSION:3.0\nN:João\nFN:João\n"
    "item1.TEL;waid=5511900000001@s.whatsapp.net:5511900000001\n"
    "item1.X-ABLabel:Celular\nEND:VCARD"
)


@pytest.fixture
def cloud(evolution: Evolution) -> Business:
    return evolution.instance("cloud", channel="WHATSAPP-BUSINESS")


@pytest.fixture
def router(shop: Business, cloud: Business) -> Iterator[WebhookReceiver]:
    """Gets the webhooks, in the tests that wait for them."""
    with WebhookReceiver() as router:
        for each in (shop, cloud):
            each.sends_webhooks_to(router.url, events=("SEND_MESSAGE", "MESSAGES_UPSERT"))
        yield router


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer(MARIA)


@pytest.fixture
async def api(evolution: Evolution) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": evolution.key}
    async with patient(base_url=evolution.url, headers=headers) as api:
        yield api


async def ask(
    api: httpx.AsyncClient, route: str, body: dict[str, Any], instance: str = "shop"
) -> httpx.Response:
    whole = body if "key" in body and route == "sendReaction" else {"number": MARIA} | body
    return await api.post(f"/message/{route}/{instance}", json=whole)


async def sent(
    api: httpx.AsyncClient, route: str, body: dict[str, Any], instance: str = "shop"
) -> Any:
    answer = await ask(api, route, body, instance)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def refusal(
    api: httpx.AsyncClient, route: str, body: dict[str, Any], instance: str = "shop"
) -> tuple[int, Any]:
    answer = await ask(api, route, body, instance)
    return answer.status_code, answer.json()["response"]["message"]


BAILEYS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "text": ("sendText", {"text": "oi"}, "conversation", "oi"),
    "picture": (
        "sendMedia",
        {"mediatype": "image", "media": ONE_PIXEL, "caption": "o bolo"},
        "imageMessage",
        "o bolo",
    ),
    "video": (
        "sendMedia",
        {"mediatype": "video", "media": "http://cdn.example/x.mp4"},
        "videoMessage",
        "<video>",
    ),
    "document": (
        "sendMedia",
        {"mediatype": "document", "media": TEXT, "fileName": "a.pdf"},
        "documentMessage",
        "<document>",
    ),
    "audio": (
        "sendMedia",
        {"mediatype": "audio", "media": TEXT, "fileName": "a.mp3"},
        "audioMessage",
        "<audio>",
    ),
    "voice": ("sendWhatsAppAudio", {"audio": TEXT}, "audioMessage", "<audio>"),
    "round video": ("sendPtv", {"video": "http://127.0.0.1:9/x.mp4"}, "ptvMessage", "<ptv>"),
    "sticker": ("sendSticker", {"sticker": ONE_PIXEL}, "stickerMessage", "<sticker>"),
    "location": ("sendLocation", PLACE, "locationMessage", "Loja"),
    "contact": ("sendContact", {"contact": CONTACT}, "contactMessage", "João"),
    "contacts": ("sendContact", {"contact": CONTACT * 2}, "contactsArrayMessage", "2 contacts"),
    "poll": (
        "sendPoll",
        {"name": "Qual?", "selectableCount": 1, "values": ["A", "B"]},
        "pollCreationMessageV3",
        "Qual?",
    ),
    "list": ("sendList", LIST | {"sections": SECTIONS}, "listMessage", "Menu"),
    "buttons": (
        "sendButtons",
        {"title": "Confirma?", "description": "Pedido 1", "footer": "Loja", "buttons": BUTTONS},
        "viewOnceMessage",
        "*Confirma?*\n\nPedido 1",
    ),
    "reaction": ("sendReaction", {"key": KEY, "reaction": "👍"}, "reactionMessage", ""),
}


@pytest.mark.parametrize("name", BAILEYS)
async def test_answer_webhook_record_and_echo_of_a_send_are_one_message(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer, name: str
) -> None:
    route, body, kind, shown = BAILEYS[name]
    answer = await sent(api, route, body)
    assert (answer["messageType"], kind in answer["message"]) == (kind, True)
    assert (answer["status"], answer["key"]["remoteJid"]) == ("PENDING", MARIA_JID)
    assert answer["key"]["fromMe"] is True
    assert [each.text for each in maria.transcript] == ([shown] if shown else [])

    (told,) = await router.gets(1)
    assert (told.event, told.data) == ("send.message", answer)

    await shop.echoes(maria)
    echo = (await router.gets(2))[1]
    assert (echo.event, echo.data["status"]) == ("messages.upsert", "SERVER_ACK")
    assert echo.data["key"] == {"remoteJid": MARIA_JID, "fromMe": True, "id": answer["key"]["id"]}
    unchanged = {"message", "messageType", "messageTimestamp", "source"}
    assert {name: echo.data[name] for name in unchanged} == {n: answer[n] for n in unchanged}

    where = {"where": {"key": {"id": answer["key"]["id"]}}}
    found = (await api.post("/chat/findMessages/shop", json=where)).json()["messages"]
    assert [record["messageType"] for record in found["records"]] == [kind, kind]


@pytest.mark.parametrize("name", BAILEYS)
async def test_what_is_quoted_stands_where_baileys_puts_it(
    api: httpx.AsyncClient, maria: Customer, name: str
) -> None:
    question = maria.writes("qual o preço?")
    route, body, kind, _ = BAILEYS[name]
    quote = body | {"quoted": {"key": {"id": question.wa_id}}}
    answer = await sent(api, route, quote)
    beside = answer.get("contextInfo", {})
    within = answer["message"][kind] if kind != "conversation" else {}
    inner = within.get("contextInfo", {})
    match name:
        case "voice" | "contact" | "contacts" | "reaction":  # it is dropped
            assert "stanzaId" not in str(answer)
        case "poll":
            context = answer["message"]["messageContextInfo"]["contextInfo"]
            assert context["stanzaId"] == question.wa_id
            assert beside == {}
        case "buttons":
            context = within["message"]["interactiveMessage"]["contextInfo"]
            assert context["quotedMessage"] == {"conversation": "qual o preço?"}
            assert beside == {}
        case "text":
            assert beside["quotedMessage"] == {"conversation": "qual o preço?"}
        case _:
            assert beside == inner
            assert (beside["stanzaId"], beside["participant"]) == (question.wa_id, MARIA_JID)


async def test_a_quote_is_looked_up_in_the_whole_instance(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    other = shop.customer("5511988880002", name="Ana").writes("segredo da Ana")
    answer = await sent(api, "sendText", {"text": "x", "quoted": {"key": {"id": other.wa_id}}})
    context = answer["contextInfo"]
    assert context["quotedMessage"] == {"conversation": "segredo da Ana"}
    assert context["remoteJid"] == "5511988880002@s.whatsapp.net"


@pytest.mark.parametrize(
    ("quoted", "expected"),
    [
        ({}, "TypeError: Cannot read properties of undefined (reading 'fromMe')"),
        ("AC1", "TypeError: Cannot read properties of undefined (reading 'fromMe')"),
        ({"key": {"remoteJid": MARIA_JID}}, ['quoted.key requires property "id"']),
    ],
)
async def test_a_quote_that_is_none_is_a_400(
    api: httpx.AsyncClient, shop: Business, quoted: Any, expected: Any
) -> None:
    assert await refusal(api, "sendText", {"text": "x", "quoted": quoted}) == (400, [expected])


async def test_unknown_quotes_and_mentions_in_a_direct_chat_change_nothing(
    api: httpx.AsyncClient, maria: Customer
) -> None:
    more = {"quoted": {"key": {"id": "NAO"}}, "mentioned": ["5511900000009"], "linkPreview": False}
    answer = await sent(api, "sendText", {"text": "x"} | more)
    assert answer["contextInfo"]["mentionedJid"] == []
    assert "stanzaId" not in answer["contextInfo"]
    given = {"key": {"id": "AC9", "remoteJid": MARIA_JID, "fromMe": False}}
    given["message"] = {"conversation": "o que ela nunca escreveu"}
    answer = await sent(api, "sendText", {"text": "x", "quoted": given})
    assert answer["contextInfo"]["quotedMessage"] == given["message"]


async def test_a_group_gets_its_mentions_and_no_more(
    api: httpx.AsyncClient, shop: Business
) -> None:
    group = {"number": "120363000000000001@g.us", "text": "oi"}
    assert "contextInfo" not in await sent(api, "sendText", group)
    answer = await sent(api, "sendText", group | {"mentioned": ["5511988880002"]})
    assert answer["contextInfo"] == {"mentionedJid": ["5511988880002@s.whatsapp.net"]}
    bad = await refusal(api, "sendText", {"text": "oi", "mentioned": ["abc"]})
    assert bad == (400, [['"mentioned" must be an array of numeric strings']])


async def test_buttons_and_lists_read_as_evolution_writes_them(
    api: httpx.AsyncClient, shop: Business
) -> None:
    _, body, *_ = BAILEYS["buttons"]
    answer = await sent(api, "sendButtons", body)
    assert answer["key"]["participant"] == MARIA_JID
    inner = answer["message"]["viewOnceMessage"]["message"]["interactiveMessage"]
    assert inner["body"]["text"] == "*Confirma?*\n\nPedido 1\n"
    assert inner["footer"] == {"text": "Loja"}
    (button,) = inner["nativeFlowMessage"]["buttons"]
    params = '{"display_text":"Sim","id":"y"}'
    assert button == {"name": "quick_reply", "buttonParamsJson": params}
    answer = await sent(api, "sendList", LIST | {"sections": SECTIONS})
    assert answer["message"]["listMessage"]["sections"] == SECTIONS
    assert answer["message"]["listMessage"]["listType"] == 2


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        ("sendText", {}, [['instance requires property "text"']]),
        ("sendMedia", {"mediatype": "sticker"}, "enum values"),
        ("sendMedia", {"mediatype": "image"}, ["Owned media must be a url or base64"]),
        ("sendMedia", {"mediatype": "document", "media": TEXT}, "For base64 the file name"),
        ("sendWhatsAppAudio", {"audio": "data:audio/ogg;base64,aGk="}, "valid file with buffer"),
        ("sendSticker", {"sticker": "x y"}, ["Owned media must be a url or base64"]),
        ("sendLocation", {"latitude": 1, "longitude": 2}, 'property "name"'),
        ("sendPoll", {"name": "x", "selectableCount": 1, "values": ["A"]}, "minimum length of 2"),
        ("sendContact", {"contact": []}, "minimum length of 1"),
        ("sendButtons", {"title": "x", "buttons": []}, "At least one button"),
        ("sendButtons", {"title": "x", "buttons": BUTTONS * 4}, "Maximum of 3 reply buttons"),
        ("sendButtons", {"title": "x", "buttons": [*BUTTONS, {"type": "url"}]}, "mixed"),
        ("sendReaction", {"number": MARIA, "reaction": "👍"}, 'property "key"'),
        ("sendReaction", {"key": KEY, "reaction": "ok"}, "single emoji"),
        ("sendReaction", {"key": KEY, "reaction": "👍👍"}, "single emoji"),
    ],
)
async def test_what_evolution_does_not_take_is_a_400(
    api: httpx.AsyncClient, shop: Business, route: str, body: dict[str, Any], expected: Any
) -> None:
    status, message = await refusal(api, route, body)
    assert status == 400
    assert expected in str(message) if isinstance(expected, str) else message == expected


@pytest.mark.parametrize("reaction", ["👍", "❤️", "👨‍👩‍👧", "🇧🇷", "1️⃣", ""])
async def test_one_emoji_of_any_kind_is_a_reaction(
    api: httpx.AsyncClient, maria: Customer, reaction: str
) -> None:
    answer = await sent(api, "sendReaction", {"key": KEY, "reaction": reaction})
    assert answer["message"]["reactionMessage"]["text"] == reaction


async def test_a_reaction_goes_to_the_chat_in_its_key(
    api: httpx.AsyncClient, shop: Business
) -> None:
    key = KEY | {"remoteJid": "+55 11 98888-0001"}
    answer = await sent(
        api, "sendReaction", {"number": "5511900000009", "key": key, "reaction": ""}
    )
    assert answer["key"]["remoteJid"] == MARIA_JID
    assert answer["message"]["reactionMessage"]["key"] == key


# Media


@pytest.mark.parametrize(
    "media",
    [
        f"data:image/png;base64,{ONE_PIXEL}",
        "http://localhost:9/a.png",
        "http://minio/a.png",
        "no base64!",
    ],
)
async def test_what_is_neither_url_nor_base64_is_a_400(
    api: httpx.AsyncClient, shop: Business, media: str
) -> None:
    body = {"mediatype": "image", "media": media}
    assert await refusal(api, "sendMedia", body) == (400, ["Owned media must be a url or base64"])


@pytest.mark.parametrize(
    ("body", "mimetype", "name"),
    [
        ({"mediatype": "image", "media": ONE_PIXEL}, "image/jpeg", None),
        ({"mediatype": "image", "media": ONE_PIXEL, "fileName": "a.png"}, "image/png", None),
        (
            {
                "mediatype": "document",
                "media": TEXT,
                "fileName": "a",
                "mimetype": "application/pdf",
            },
            "false",
            "a",
        ),
        ({"mediatype": "document", "media": "http://127.0.0.1:9/ok.pdf"}, "false", "ok"),
        ({"mediatype": "document", "media": "http://127.0.0.1:9/noext"}, "false", "127"),
        (
            {"mediatype": "document", "media": "http://127.0.0.1:9/x", "fileName": "a.pdf"},
            "application/pdf",
            "a.pdf",
        ),
        ({"mediatype": "audio", "media": "http://127.0.0.1:9/a.mp3"}, "audio/mpeg", None),
        ({"mediatype": "audio", "media": TEXT}, "false", None),
        ({"mediatype": "video", "media": TEXT, "mimetype": "video/webm"}, "video/mp4", None),
    ],
)
async def test_the_mime_type_is_that_of_the_file_names_extension(
    api: httpx.AsyncClient,
    shop: Business,
    body: dict[str, Any],
    mimetype: str,
    name: str | None,
) -> None:
    message = (await sent(api, "sendMedia", body))["message"][f"{body['mediatype']}Message"]
    assert (message["mimetype"], message.get("fileName")) == (mimetype, name)


async def test_pictures_are_told_apart_by_what_they_hold_and_not_by_what_was_given(
    api: httpx.AsyncClient, maria: Customer
) -> None:
    hashes = []
    for media in (ONE_PIXEL, OTHER_PICTURE, ONE_PIXEL):
        answer = await sent(api, "sendMedia", {"mediatype": "image", "media": media})
        hashes.append(answer["message"]["imageMessage"]["fileSha256"])
    assert hashes[0] == hashes[2] != hashes[1]
    sources = [message.media for message in maria.transcript]
    assert sources[0] == sources[2] != sources[1]
    assert bytes(hashes[0].values()).hex() not in sources


@pytest.mark.parametrize(
    ("route", "body", "status", "message"),
    [
        ("sendMedia", {"mediatype": "image", "media": TEXT}, 500, ["Error: Input buffer contains"]),
        ("sendSticker", {"sticker": TEXT}, 500, "Input buffer contains"),
        ("sendMedia", {"mediatype": "image"}, 500, ["AxiosError: Request failed with status"]),
        ("sendMedia", {"mediatype": "video"}, 500, ["Error: Failed to fetch stream from"]),
        ("sendWhatsAppAudio", {"encoding": False}, 400, ["Error: Failed to fetch stream from"]),
        ("sendWhatsAppAudio", {}, 404, "Request failed with status code 404"),
        ("sendSticker", {}, 404, "Request failed with status code 404"),
    ],
)
async def test_media_that_is_not_to_be_had_is_an_error_and_nothing_is_sent(
    api: httpx.AsyncClient,
    shop: Business,
    route: str,
    body: dict[str, Any],
    status: int,
    message: Any,
) -> None:
    url = "http://cdn.example/404.bin"
    shop.media_at[url] = 404
    field = {"sendMedia": "media", "sendSticker": "sticker"}.get(route, "audio")
    answered, said = await refusal(api, route, {field: url} | body)
    assert answered == status
    assert str(said).startswith(str(message).removesuffix("']"))
    assert shop.chat_at(MARIA).transcript == ()


async def test_with_webhook_base64_the_bytes_are_told_and_not_stored(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.sends_webhooks_to(router.url, base64=True, events=("SEND_MESSAGE", "MESSAGES_UPSERT"))
    answer = await sent(api, "sendMedia", {"mediatype": "document", "media": TEXT, "fileName": "a"})
    await shop.echoes(maria)
    assert answer["message"]["base64"] == TEXT
    assert [each.data["message"]["base64"] for each in await router.gets(2)] == [TEXT, TEXT]
    records = (await api.post("/chat/findMessages/shop", json={})).json()["messages"]["records"]
    assert ["base64" in record["message"] for record in records] == [False, False]
    assert isinstance(records[0]["message"]["documentMessage"]["fileSha256"], str)


# WHATSAPP-BUSINESS

UPLOADED = {"gifPlayback": False, "id": "2233445566", "type": "id"}
LINK = "http://127.0.0.1:9/ok.jpg"
CLOUD: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "text": ("sendText", {"text": "oi"}, "conversation", {"conversation": "oi"}),
    "picture": (
        "sendMedia",
        {"mediatype": "image", "media": ONE_PIXEL, "caption": "oi", "fileName": "foto.jpg"},
        "imageMessage",
        {
            "imageMessage": UPLOADED
            | {"caption": "oi", "fileName": "foto.jpg", "mediaType": "image"}
            | {"media": ONE_PIXEL, "mimetype": "image/jpeg"}
        },
    ),
    "picture by url": (
        "sendMedia",
        {"mediatype": "image", "media": LINK},
        "imageMessage",
        {
            "imageMessage": {"fileName": "image.png", "mediaType": "image", "media": LINK}
            | {"gifPlayback": False, "id": LINK, "type": "link", "mimetype": "image/jpeg"}
        },
    ),
    "location": (
        "sendLocation",
        PLACE,
        "locationMessage",
        {
            "locationMessage": {"degreesLatitude": -23.5, "degreesLongitude": -46.6}
            | {"name": "Loja", "address": "Rua"}
        },
    ),
    "contact": (
        "sendContact",
        {"contact": CONTACT},
        "conversation",
        {"contact": {"displayName": "João", "vcard": VCARD}},
    ),
    "list": (
        "sendList",
        LIST | {"sections": SECTIONS},
        "conversation",
        {"conversation": "Menu\nS1\nUm\n"},
    ),
    "buttons": (
        "sendButtons",
        {"title": "Confirma?", "description": "Pedido", "footer": "f", "buttons": BUTTONS},
        "conversation",
        {"conversation": "Confirma?\n▶️ Sim\n"},
    ),
    "reaction": (
        "sendReaction",
        {"key": KEY, "reaction": "👍"},
        "conversation",
        {"reactionMessage": {"key": KEY, "text": "👍"}},
    ),
}


@pytest.mark.parametrize("name", CLOUD)
async def test_the_cloud_tells_sends_in_its_own_flat_way(
    api: httpx.AsyncClient, router: WebhookReceiver, cloud: Business, name: str
) -> None:
    route, body, kind, message = CLOUD[name]
    answer = await sent(api, route, body, "cloud")
    assert (answer["message"], answer["messageType"]) == (message, kind)
    assert set(answer) == {
        "key", "message", "messageType", "messageTimestamp", "instanceId", "status", "source",
    }  # fmt: skip
    (told,) = await router.gets(1)
    assert told.data == answer
    records = (await api.post("/chat/findMessages/cloud", json={})).json()["messages"]["records"]
    assert records[0]["message"] == message
    echoed = await cloud.echoes(cloud.chat_at(MARIA))
    assert echoed.state == "not wanted"  # Meta's numbers have no second session


async def test_a_voice_on_the_cloud_is_named_by_number_and_time(
    api: httpx.AsyncClient, cloud: Business
) -> None:
    voice = (await sent(api, "sendWhatsAppAudio", {"audio": TEXT}, "cloud"))["message"]
    told = voice["audioMessage"]
    assert told.pop("fileName").startswith(f"{MARIA}-")
    uploaded = {"media": TEXT, "id": "2233445566", "type": "id"}
    assert told == uploaded | {"mediaType": "audio", "mimetype": "audio/mpeg"}


async def test_quotes_on_the_cloud_are_an_id(api: httpx.AsyncClient, cloud: Business) -> None:
    body = {"text": "x", "quoted": {"key": {"id": "wamid.X"}}, "delay": 1500}
    answer = await sent(api, "sendText", body, "cloud")
    assert answer["message"] == {"conversation": "x", "contextInfo": {"stanzaId": "wamid.X"}}
    nothing = {"text": "x", "quoted": {}}
    assert await refusal(api, "sendText", nothing, "cloud") == (400, ["Message not found"])


@pytest.mark.parametrize(
    ("route", "body", "status", "message"),
    [
        ("sendSticker", {"sticker": ONE_PIXEL}, 400, "Method not available"),
        ("sendPoll", {"name": "x", "selectableCount": 1, "values": ["A", "B"]}, 400, "Method not"),
        ("sendPtv", {"video": TEXT}, 500, "ptvMessage is not a function"),
        ("sendText", {"text": ""}, 400, "TypeError: Cannot read properties of undefined"),
        ("sendMedia", {"mediatype": "image", "media": ONE_PIXEL}, 500, "[object Object]"),
    ],
)
async def test_what_the_cloud_cannot_send(
    api: httpx.AsyncClient,
    cloud: Business,
    route: str,
    body: dict[str, Any],
    status: int,
    message: str,
) -> None:
    cloud.refuses_uploads = True
    answered, said = await refusal(api, route, body, "cloud")
    assert answered == status
    assert message in str(said)


async def test_media_that_comes_in_over_the_cloud_is_handed_on_and_not_stored(
    api: httpx.AsyncClient, router: WebhookReceiver, cloud: Business
) -> None:
    await cloud.customer(MARIA).sends(image("foto"))
    (told,) = router.received
    assert told.data["message"]["base64"] == ONE_PIXEL
    found = (await api.post("/chat/findMessages/cloud", json={})).json()["messages"]
    assert found["total"] == 0
    path = "/chat/getBase64FromMediaMessage/cloud"
    answer = await api.post(path, json={"message": {"key": told.data["key"]}})
    assert answer.status_code == 400
    answer = await api.post(path, json={"message": told.data})
    assert (answer.status_code, answer.json()["base64"]) == (201, ONE_PIXEL)


# An id of the client's own choice


@pytest.mark.parametrize(("version", "name"), [("2.4.0", each) for each in BAILEYS])
async def test_version_2_4_takes_an_id_for_some_sends(version: str, name: str) -> None:
    route, body, *_ = BAILEYS[name]
    with Evolution(version=version) as evolution:
        evolution.instance("shop")
        headers = {"apikey": evolution.key}
        async with patient(base_url=evolution.url, headers=headers) as api:
            answer = await sent(api, route, body | {"messageId": "3EB0OURS"})
    takes = route in ("sendText", "sendMedia", "sendPtv", "sendSticker", "sendPoll")
    assert (answer["key"]["id"] == "3EB0OURS") == takes


@pytest.mark.parametrize(
    ("version", "channel"), [("2.3.7", "WHATSAPP-BAILEYS"), ("2.4.0", "WHATSAPP-BUSINESS")]
)
async def test_elsewhere_no_id_is_taken(version: str, channel: Any) -> None:
    with Evolution(version=version) as evolution:
        evolution.instance("shop", channel=channel)
        headers = {"apikey": evolution.key}
        async with patient(base_url=evolution.url, headers=headers) as api:
            answer = await sent(api, "sendText", {"text": "oi", "messageId": "3EB0OURS"})
    assert answer["key"]["id"] != "3EB0OURS"
