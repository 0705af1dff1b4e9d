"""What the loopback Evolution's webhooks say of what people do at their phones."""

from typing import Any

import pytest

from loopback.evolution import Business, Customer, Evolution, contents
from loopback.receiver import WebhookReceiver
from tests.doubles.webhooks import connected, latest


@pytest.fixture
def shop(evolution: Evolution, router: WebhookReceiver) -> Business:
    return connected(evolution.instance("shop"), router)


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer(lid="199988877700001", identity="pn")


async def test_a_customers_text(router: WebhookReceiver, shop: Business, maria: Customer) -> None:
    written = await maria.writes("oi")
    [received] = router.received
    assert received.path == "/webhook/shop"
    assert list(received.body) == [
        "event", "instance", "data", "destination", "date_time", "sender", "server_url", "apikey",
    ]  # fmt: skip
    assert received.data == {
        "key": {"remoteJid": maria.jid, "fromMe": False, "id": written.wa_id},
        "pushName": "Maria",
        "status": "DELIVERY_ACK",
        "message": {"conversation": "oi"},
        "messageType": "conversation",
        "messageTimestamp": received.data["messageTimestamp"],
        "instanceId": shop.id,
        "source": "android",
    }
    assert (len(written.wa_id), written.wa_id[:2]) == (32, "AC")


@pytest.mark.parametrize(
    ("identity", "key"),
    [
        ("pn", {"remoteJid": "5511988880001@s.whatsapp.net"}),
        (
            "pn_with_lid",
            {
                "remoteJid": "5511988880001@s.whatsapp.net",
                "remoteJidAlt": "199988877700001@lid",
                "addressingMode": "pn",
            },
        ),
        (
            "lid_with_pn",
            {
                "remoteJid": "199988877700001@lid",
                "remoteJidAlt": "5511988880001@s.whatsapp.net",
                "addressingMode": "lid",
            },
        ),
        ("lid", {"remoteJid": "199988877700001@lid", "addressingMode": "lid"}),
    ],
)
async def test_one_person_under_each_identity(
    router: WebhookReceiver, maria: Customer, identity: Any, key: dict[str, str]
) -> None:
    written = await maria.writes("oi", identity=identity)
    told = (await latest(router))["key"]
    assert told == key | {"fromMe": False, "id": written.wa_id}
    assert [message.text for message in maria.transcript] == ["oi"]


@pytest.mark.parametrize(
    ("content", "message_type", "line"),
    [
        (contents.image("o bolo"), "imageMessage", "o bolo"),
        (contents.video(), "videoMessage", "<video>"),
        (contents.voice(9), "audioMessage", "<audio>"),
        (contents.sticker(), "stickerMessage", "<sticker>"),
        (contents.document("nota.pdf", "segue"), "documentMessage", "segue"),
        (contents.location("Loja", "Rua A"), "locationMessage", "Loja"),
        (contents.contact_card("José", "5511988880009"), "contactMessage", "José"),
        (contents.list_reply("Plano B", "row2"), "listResponseMessage", "Plano B"),
        (contents.button_reply("Sim"), "buttonsResponseMessage", "Sim"),
        (contents.template_button_reply("Ok"), "templateButtonReplyMessage", "Ok"),
        (contents.interactive_reply("Sim"), "interactiveResponseMessage", "Sim"),
        (contents.poll("Qual?", "A", "B"), "pollCreationMessageV3", "Qual?"),
        (contents.ephemeral("some"), "ephemeralMessage", "some"),
        (contents.view_once(), "viewOnceMessageV2", "<image>"),
        (contents.ad_reply("vi o anúncio"), "conversation", "vi o anúncio"),
    ],
    ids=lambda value: getattr(value, "message_type", None),
)
async def test_everything_a_message_can_hold(
    router: WebhookReceiver,
    maria: Customer,
    content: contents.Content,
    message_type: str,
    line: str,
) -> None:
    await maria.sends(content)
    data = await latest(router)
    assert (data["messageType"], message_type in data["message"]) == (message_type, True)
    assert [message.text for message in maria.transcript] == [line]


async def test_media_carries_its_bytes_where_the_webhook_asks_for_them(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.sends_webhooks_to(router.url, base64=True)
    await maria.sends(contents.image())
    assert router.received[0].data["message"]["base64"]


async def test_quotes_reactions_edits_and_deletes(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    oi = await maria.writes("oi")
    await maria.quotes(oi, "repito")
    context = (await latest(router))["contextInfo"]
    assert context["stanzaId"] == oi.wa_id
    assert context["quotedMessage"] == {"conversation": "oi"}
    await maria.reacts(oi)
    reaction = (await latest(router))["message"]["reactionMessage"]
    assert (reaction["text"], reaction["key"]["id"]) == ("👍", oi.wa_id)
    await maria.edits(oi, "olá")
    edit = await latest(router)
    assert (edit["type"], edit["editedMessage"]) == ("MESSAGE_EDIT", {"conversation": "olá"})
    await maria.deletes(oi)
    assert await latest(router) == {"key": edit["key"], "type": "REVOKE"}
    await maria.deletes(oi, event="messages.delete")
    assert await latest(router) == edit["key"]
    assert [message.text for message in maria.transcript] == ["repito"]


@pytest.mark.parametrize(
    ("device", "prefix", "length"), [("android", "AC", 32), ("ios", "3A", 20), ("web", "3EB0", 22)]
)
async def test_the_owner_at_each_device(
    router: WebhookReceiver,
    shop: Business,
    maria: Customer,
    device: Any,
    prefix: str,
    length: int,
) -> None:
    written = await shop.owner.writes(maria, "deixa comigo", device=device)
    data = await latest(router)
    assert (data["key"]["fromMe"], data["status"], data["source"]) == (True, "SERVER_ACK", device)
    assert (written.wa_id.startswith(prefix), len(written.wa_id)) == (True, length)
    assert [str(message).strip() for message in maria.transcript] == ["owner: deixa comigo"]


async def test_the_owners_reaction_edit_and_delete(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    oi = await maria.writes("oi")
    await shop.owner.reacts(maria, oi)
    reaction = await latest(router)
    assert (reaction["key"]["fromMe"], reaction["messageType"]) == (True, "reactionMessage")
    assert reaction["message"]["reactionMessage"]["key"]["fromMe"] is False
    mine = await shop.owner.writes(maria, "olha")
    await shop.owner.edits(maria, mine, "olá")
    assert (await latest(router))["key"]["fromMe"] is True
    await shop.owner.deletes(maria, mine)
    assert (await latest(router))["type"] == "REVOKE"


async def test_what_only_looks_like_the_owner(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    await maria.calls(auto_reply="Não atendemos ligações")
    call, reply = await router.gets(2)
    assert (call.event, reply.data["status"], reply.data["key"]["fromMe"]) == (
        "call", "PENDING", True,
    )  # fmt: skip
    await shop.owner.greeting(maria, "Bem-vinda!")
    assert (await latest(router))["status"] == "SERVER_ACK"
    await shop.other_client_sends(maria, "aqui é a Bia, no Chatwoot")
    sent = next(received for received in router.received if received.event == "send.message")
    assert sent.data["status"] == "PENDING"
    authors = [message.author for message in maria.transcript]
    assert authors == ["evolution", "greeting", "other_api"]


async def test_what_was_written_while_evolution_was_away(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    await shop.owner.wrote_offline(maria, "ontem", at=1_790_000_000)
    data = await latest(router)
    assert (data["messageTimestamp"], "status" in data) == (1_790_000_000, False)
    await maria.writes("anteontem", at=1_789_900_000)
    assert (await latest(router))["messageTimestamp"] == 1_789_900_000


async def test_groups_status_posts_and_newsletters(
    router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    await maria.writes_in(shop.group(), "oi, grupo")
    key = (await latest(router))["key"]
    assert (key["remoteJid"], key["participant"]) == ("120363000000000001@g.us", maria.lid)
    assert key["participantAlt"] == maria.jid
    await maria.posts_status("praia!")
    assert (await latest(router))["key"]["remoteJid"] == "status@broadcast"
    await shop.posts_in_newsletter("novidades")
    assert (await latest(router))["key"]["remoteJid"].endswith("@newsletter")
    assert maria.transcript == ()
