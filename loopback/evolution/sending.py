"""What a send through the REST API does: the message on the phone, stored, and told of."""

from dataclasses import replace

from loopback.evolution.chats import Author, Chat, Json, PhoneMessage
from loopback.evolution.contents import Content, text
from loopback.evolution.identifiers import instance_id, row_id
from loopback.evolution.instance import Instance
from loopback.evolution.webhooks import Delivery


def take(
    shop: Instance,
    number: str,
    content: Content,
    *,
    author: Author = "api",
    wa_id: str | None = None,
) -> tuple[Chat, Json]:
    """Send: put the message on the phone, store it, and return its data, as the call answers it."""
    chat = shop.chat_at(number)
    data = _answer(shop, chat, number, content, wa_id)
    with shop.program.changes.made():
        if shop.stores_sends:
            shop.store.add_sent(row_id(), data)
        if content.shown:
            chat.show(str(data["key"]["id"]), author, content.shown)
    return chat, data


def tell_send(shop: Instance, chat: Chat, data: Json) -> Delivery:
    """Fire send.message, then messages.update for each state, and return the first delivery."""
    delivery = shop.emit("send.message", data, chat)
    for state in shop.tells_states:
        tell_state(shop, chat, data["key"], state)
    if shop.channel == "WHATSAPP-BAILEYS":
        upserted = {"remoteJid": chat.jid, "instanceId": shop.id, "unreadMessages": 0}
        shop.emit("chats.upsert", [upserted], chat)
    return delivery


def tell_state(shop: Instance, chat: Chat, key: Json, state: str) -> Delivery:
    """Fire one messages.update, and note the state; Cloud says fromMe false of our own messages."""
    stored = shop.store.get(str(key["id"]))
    if stored is not None:
        with shop.program.changes.made():
            stored.states.append(state)
    cloud = shop.channel == "WHATSAPP-BUSINESS"
    update: Json = {"keyId": key["id"], "remoteJid": key["remoteJid"]}
    update["fromMe"] = key["fromMe"] and not cloud
    if key["fromMe"]:
        update["participant"] = key["remoteJid"] if cloud else None
    update |= {"status": state, "instanceId": shop.id}
    update["messageId"] = stored.row if stored else row_id()
    return shop.emit("messages.update", update, chat)


def other_client_sends(shop: Instance, chat: Chat, body: str) -> Delivery:
    """Let another client of the REST API write (a human in Chatwoot, say): its send.message."""
    _, data = take(shop, chat.jid, text(body), author="other_api")
    return tell_send(shop, chat, data)


def echo(shop: Instance, chat: Chat, message: PhoneMessage) -> Delivery:
    """Let a send come back as an upsert, as through another session on the same number."""
    key = chat.key(message.wa_id, from_me=True, identity=shop.identity_of(chat, None))
    return shop.upsert(
        chat, text(message.text), key,
        author="api", push_name="Você", status="SERVER_ACK", device="web",
    )  # fmt: skip


def _answer(shop: Instance, chat: Chat, number: str, content: Content, wa_id: str | None) -> Json:
    """Compose as the capture of each channel: EVOLUTION echoes the number, Baileys adds context."""
    match shop.channel:
        case "EVOLUTION":
            key = {"fromMe": True, "id": wa_id or instance_id(), "remoteJid": number}
            return shop.compose(content, key, None, None, "web", None)
        case "WHATSAPP-BUSINESS":
            key = {"fromMe": True, "id": wa_id or shop.new_id("web"), "remoteJid": chat.jid}
            data = shop.compose(content, key, None, None, "web", None)
            return data | {"status": "PENDING"}
    jid = chat.answers_as or (chat.lid if chat.identity == "lid" else chat.jid)
    key = {"remoteJid": jid, "fromMe": True, "id": wa_id or shop.new_id("web")}
    stamp = {"low": int(shop.program.now()) - 172_800, "high": 0, "unsigned": False}
    context: Json = {"mentionedJid": [], "groupMentions": []}
    context |= {"ephemeralSettingTimestamp": stamp, "disappearingMode": {"initiator": 0}}
    if content.message_type == "reactionMessage":
        return shop.compose(content, key, "Você", "PENDING", "web", None)
    sent = replace(content, has_context=True, context=context | (content.context or {}))
    return shop.compose(sent, key, "Você", "PENDING", "web", None)
