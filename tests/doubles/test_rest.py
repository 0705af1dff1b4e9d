"""The REST API of the loopback Evolution, called as a client calls the real one."""

from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Evolution
from loopback.evolution.contents import ONE_PIXEL, image
from tests.clients import patient

MARIA = "5511988880001"
LID = "199988877700001"


async def send(api: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await api.post("/message/sendText/shop", json=body)


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["response"]["message"]


async def test_it_says_its_version(api: httpx.AsyncClient) -> None:
    welcome = (await api.get("/")).json()
    assert (welcome["status"], welcome["version"]) == (200, "2.3.6")


async def test_a_text_is_answered_201_and_stands_on_the_phone(
    api: httpx.AsyncClient, shop: Business
) -> None:
    answer = await send(api, number=MARIA, text="Olá!")
    sent = answer.json()
    assert answer.status_code == 201
    assert sent["key"]["remoteJid"] == f"{MARIA}@s.whatsapp.net"
    assert sent["key"]["fromMe"] is True
    assert sent["key"]["id"].startswith("3EB0")
    assert (sent["status"], sent["message"]) == ("PENDING", {"conversation": "Olá!"})
    assert shop.chat_at(MARIA).replies == ["Olá!"]


async def test_the_global_key_and_the_instances_token_are_taken_and_no_other(
    api: httpx.AsyncClient, evolution: Evolution
) -> None:
    path = "/instance/connectionState/shop"
    for key, status in ((evolution.key, 200), ("wrong", 401)):
        answer = await api.get(path, headers={"apikey": key})
        assert answer.status_code == status
    assert refusal(answer) == (401, "Unauthorized")


async def test_an_instance_that_does_not_exist_is_404_before_the_key_is_looked_at(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/message/sendText/nope", json={}, headers={"apikey": "wrong"})
    assert refusal(answer) == (404, ['The "nope" instance does not exist'])


async def test_unknown_paths_are_404(api: httpx.AsyncClient) -> None:
    assert refusal(await api.post("/message/nothing")) == (404, ["Cannot POST /message/nothing"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"number": MARIA}, [['instance requires property "text"']]),
        ({"text": "x"}, [['instance requires property "number"']]),
        ({"number": 5511, "text": "x"}, [["Invalid format"]]),
        ({"number": MARIA, "text": "  "}, ["Text is required"]),
        ({"number": MARIA, "text": "x", "delay": "1"}, [["Enter a value in milliseconds"]]),
    ],
)
async def test_what_no_text_is_gets_400(
    api: httpx.AsyncClient, body: dict[str, Any], message: list[Any]
) -> None:
    assert refusal(await send(api, **body)) == (400, message)


async def test_a_number_that_is_not_on_whatsapp_gets_400(
    api: httpx.AsyncClient, shop: Business
) -> None:
    shop.absent.add("5500000000000")
    absent = {"jid": "5500000000000@s.whatsapp.net", "exists": False, "number": "5500000000000"}
    assert refusal(await send(api, number="5500000000000", text="oi")) == (400, [absent])


async def test_without_a_connection_sends_get_400_until_it_is_back(
    api: httpx.AsyncClient, shop: Business
) -> None:
    shop.line.breaks()
    assert refusal(await send(api, number=MARIA, text="oi")) == (400, ["Error: Connection Closed"])
    shop.line.connects()
    assert (await send(api, number=MARIA, text="oi")).status_code == 201
    assert shop.chat_at(MARIA).replies == ["oi"]


@pytest.mark.parametrize(
    ("number", "jid"),
    [
        ("5511988880001", "5511988880001@s.whatsapp.net"),  # São Paulo keeps its ninth digit
        ("5531988880001", "553188880001@s.whatsapp.net"),  # Minas Gerais does not
        ("5531968880001", "5531968880001@s.whatsapp.net"),  # not a mobile of old
        ("5215512345678", "525512345678@s.whatsapp.net"),
        ("5491112345678", "541112345678@s.whatsapp.net"),
        ("+55 (11) 98888-0001", "5511988880001@s.whatsapp.net"),
        ("5531988880001@s.whatsapp.net", "5531988880001@s.whatsapp.net"),
        ("120363000000000009@g.us", "120363000000000009@g.us"),
    ],
)
async def test_numbers_are_rewritten_as_evolution_does(
    api: httpx.AsyncClient, number: str, jid: str
) -> None:
    assert (await send(api, number=number, text="oi")).json()["key"]["remoteJid"] == jid


async def test_a_customer_is_found_with_and_without_the_ninth_digit(
    api: httpx.AsyncClient, shop: Business
) -> None:
    ana = shop.customer("5531988880001", name="Ana")
    ana.answers_as = "553188880001@s.whatsapp.net"
    answer = await send(api, number="553188880001", text="oi")
    assert answer.json()["key"]["remoteJid"] == "553188880001@s.whatsapp.net"
    assert ana.replies == ["oi"]


@pytest.mark.parametrize(
    ("identity", "number", "jid"),
    [
        ("lid_with_pn", f"{LID}@lid", f"{LID}@lid"),
        ("lid_with_pn", MARIA, f"{MARIA}@s.whatsapp.net"),
        ("lid", f"{LID}@lid", f"{LID}@lid"),
        ("lid", MARIA, f"{MARIA}@s.whatsapp.net"),
        ("pn_with_lid", f"{LID}@lid", f"{MARIA}@s.whatsapp.net"),
        ("pn_with_lid", MARIA, f"{MARIA}@s.whatsapp.net"),
    ],
)
async def test_a_lid_leads_to_the_phone_only_if_messages_came_in_under_the_phone(
    api: httpx.AsyncClient, shop: Business, identity: Any, number: str, jid: str
) -> None:
    maria = shop.customer(MARIA, lid=LID, identity=identity)
    key = (await send(api, number=number, text="oi")).json()["key"]
    assert (key["remoteJid"], "remoteJidAlt" in key) == (jid, False)
    assert maria.replies == ["oi"]


async def test_presence_and_read_marks_are_for_baileys_only(
    api: httpx.AsyncClient, evolution: Evolution
) -> None:
    typing = {"number": MARIA, "presence": "composing", "delay": 1200}
    answer = await api.post("/chat/sendPresence/shop", json=typing)
    assert (answer.status_code, answer.json()) == (201, {"presence": "composing"})
    refused: tuple[tuple[str, Any, str], ...] = (
        ("cloud", "WHATSAPP-BUSINESS", "Method not available on WhatsApp Business API"),
        ("own", "EVOLUTION", "Method not available on Evolution Channel"),
    )
    for name, channel, why in refused:
        other = evolution.instance(name, channel=channel)
        key = {"apikey": other.token}
        answer = await api.post(f"/chat/sendPresence/{name}", json=typing, headers=key)
        assert refusal(answer) == (400, [why])


async def test_a_read_mark_with_a_lid_is_silently_skipped(
    api: httpx.AsyncClient, shop: Business
) -> None:
    keys = [
        {"remoteJid": f"{MARIA}@s.whatsapp.net", "fromMe": False, "id": "AC01"},
        {"remoteJid": "199988877700001@lid", "fromMe": False, "id": "AC02"},
    ]
    answer = await api.post("/chat/markMessageAsRead/shop", json={"readMessages": keys})
    assert (answer.status_code, answer.json()["read"]) == (201, "success")
    assert shop.read == ["AC01"]


async def test_media_voice_and_reactions_can_be_sent(
    api: httpx.AsyncClient, shop: Business
) -> None:
    picture = {"number": MARIA, "mediatype": "image", "media": ONE_PIXEL, "caption": "o bolo"}
    answer = await api.post("/message/sendMedia/shop", json=picture)
    assert answer.json()["message"]["imageMessage"]["caption"] == "o bolo"
    voice = {"number": MARIA, "audio": "aGk="}
    answer = await api.post("/message/sendWhatsAppAudio/shop", json=voice)
    assert answer.json()["message"]["audioMessage"]["ptt"] is True
    key = {"remoteJid": f"{MARIA}@s.whatsapp.net", "fromMe": False, "id": "AC01"}
    answer = await api.post("/message/sendReaction/shop", json={"key": key, "reaction": "👍"})
    assert answer.json()["message"]["reactionMessage"]["text"] == "👍"
    assert shop.chat_at(MARIA).replies == ["o bolo", "<audio>"]  # a reaction makes no line


async def test_the_bytes_of_a_media_message_can_be_fetched(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer(MARIA)
    picture, words = maria.sends(image("o bolo")), maria.writes("oi")
    path = "/chat/getBase64FromMediaMessage/shop"
    answer = await api.post(path, json={"message": {"key": {"id": picture.wa_id}}})
    assert (answer.status_code, answer.json()["mimetype"]) == (201, "image/jpeg")
    for wa_id, why in (("nobody", "Message not found"), (words.wa_id, "The message is not of")):
        answer = await api.post(path, json={"message": {"key": {"id": wa_id}}})
        assert refusal(answer)[0] == 400
        assert refusal(answer)[1][0].startswith(why)


async def test_cloud_and_the_evolution_channel_answer_in_their_own_shapes(
    api: httpx.AsyncClient, evolution: Evolution
) -> None:
    cloud = evolution.instance("cloud", channel="WHATSAPP-BUSINESS")
    own = evolution.instance("own", channel="EVOLUTION")
    body = {"number": MARIA, "text": "oi"}
    headers = {"apikey": evolution.key}
    sent = (await api.post("/message/sendText/cloud", json=body, headers=headers)).json()
    assert sent["key"]["id"].startswith("wamid.")
    assert (sent["status"], "pushName" in sent) == ("PENDING", False)
    sent = (await api.post("/message/sendText/own", json=body, headers=headers)).json()
    assert (sent["key"]["remoteJid"], "status" in sent) == (MARIA, False)
    assert cloud.chat_at(MARIA).replies == own.chat_at(MARIA).replies == ["oi"]


async def test_version_2_4_takes_an_id_that_the_client_chose() -> None:
    with Evolution(version="2.4.0") as evolution:
        shop = evolution.instance("shop")
        headers = {"apikey": shop.token}
        async with patient(base_url=evolution.url, headers=headers) as api:
            sent = (await send(api, number=MARIA, text="oi", messageId="3EB0OURS")).json()
    assert sent["key"]["id"] == "3EB0OURS"


async def test_calls_are_noted_with_what_they_said_and_were_answered(
    api: httpx.AsyncClient, shop: Business
) -> None:
    await send(api, number=MARIA, text="oi")
    await send(api, number=MARIA)
    first, second = await shop.called("sendText", 2)
    assert (first.body["text"], first.status) == ("oi", 201)
    assert second.status == 400


async def test_who_was_written_to_first_can_be_introduced_later(
    api: httpx.AsyncClient, shop: Business
) -> None:
    await send(api, number=MARIA, text="olá")
    maria = shop.customer(MARIA, name="Maria")
    maria.writes("oi")
    assert [message.text for message in maria.transcript] == ["olá", "oi"]
    assert shop.customer(MARIA) is maria is shop.chat_at(MARIA)
