"""The effects of a send through the REST API: on the phone, in the store, and in webhooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loopback.evolution.answers import refused
from loopback.evolution.chats import Author, Chat, Identity, Json
from loopback.evolution.contents import Content, base64_of, text
from loopback.evolution.identifiers import addressed, instance_id, row_id
from loopback.evolution.instance import Instance, Sent
from loopback.evolution.webhooks import Delivery

_NO_KEY = "TypeError: Cannot read properties of undefined (reading 'fromMe')"
_LID, _GROUP = "@lid", "@g.us"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send: the address, the content, the contextInfo and the chosen id."""

    number: str
    content: Content
    context: Json | None
    wa_id: str | None = None


def context_of(shop: Instance, number: str, options: Mapping[str, Any]) -> Json | None:
    """Return what a send adds to its message: the quoted message and, on Baileys, some more.

    A quoted message is looked up in the whole instance. Raises Refusal if Evolution crashes on it.
    """
    quoted = options.get("quoted")
    match shop.channel:
        case "WHATSAPP-BAILEYS":
            return _baileys_context(shop, number, options)
        case _ if not quoted and quoted != {}:
            return None
    if not isinstance(quoted, Mapping) or not quoted.get("key"):
        raise refused("Message not found")
    return {"stanzaId": quoted["key"].get("id")}


def take(shop: Instance, out: Outgoing, *, author: Author = "api") -> tuple[Chat, Json]:
    """Put the message on the phone, store it, and return its data for the call's answer."""
    chat, content = shop.chat_at(out.number), out.content
    data = _answer(shop, chat, out)
    wa_id, told = str(data["key"]["id"]), data
    setting = shop.webhooks.setting
    if shop.channel == "WHATSAPP-BAILEYS" and setting is not None and setting.base64:
        told = data | {"message": data["message"] | base64_of(content)}
    with shop.program.changes.made():
        shop.sent[wa_id] = Sent(chat, author, data, told, content.source)
        if shop.stores_sends:
            shop.store.add_sent(row_id(), data)
        if content.shown:
            chat.show(wa_id, author, content.shown, content.source)
    return chat, told


def tell_send(shop: Instance, chat: Chat, data: Json) -> Delivery:
    """Emit send.message, then messages.update for each state. Returns the first delivery."""
    delivery = shop.emit("send.message", data, chat)
    for state in shop.tells_states:
        tell_state(shop, chat, data["key"], state)
    if shop.channel == "WHATSAPP-BAILEYS":
        upserted = {"remoteJid": chat.jid, "instanceId": shop.id, "unreadMessages": 0}
        shop.emit("chats.upsert", [upserted], chat)
    return delivery


def tell_state(shop: Instance, chat: Chat, key: Json, state: str) -> Delivery:
    """Emit one messages.update, and store the state. Cloud says fromMe false for our messages."""
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
    """Let another client of the REST API write, such as Chatwoot; returns its send.message."""
    out = Outgoing(chat.jid, text(body), context_of(shop, chat.jid, {}))
    _, data = take(shop, out, author="other_api")
    return tell_send(shop, chat, data)


def echo(shop: Instance, chat: Chat, sent: Sent, identity: Identity | None = None) -> Delivery:
    """Let a send come back as an upsert, as if through another session of the same number.

    It is stored a second time. With an `identity`, it has another address than the one to which it
    was sent. Only Baileys has such sessions.
    """
    if shop.channel != "WHATSAPP-BAILEYS":
        return shop.webhooks.untold("messages.upsert")
    key = {name: sent.data["key"][name] for name in ("remoteJid", "fromMe", "id")}
    if identity is not None:
        key = chat.key(key["id"], from_me=True, identity=identity)
    changed = {"key": key, "status": "SERVER_ACK"}
    with shop.program.changes.made():
        if shop.stores_sends:
            shop.store.add_received(row_id(), sent.data | changed)
    return shop.emit("messages.upsert", sent.told | changed, chat)


def _answer(shop: Instance, chat: Chat, out: Outgoing) -> Json:
    """Compose the channel's answer: EVOLUTION echoes the number, Baileys adds context."""
    content, wa_id = out.content, out.wa_id
    match shop.channel:
        case "EVOLUTION":
            key = {"fromMe": True, "id": wa_id or instance_id(), "remoteJid": out.number}
            return shop.compose(content, key, None, None, "web", None)
        case "WHATSAPP-BUSINESS":
            jid = addressed(out.number)
            key = {"fromMe": True, "id": wa_id or shop.new_id("web"), "remoteJid": jid}
            data = shop.compose(content, key, None, None, "web", None)
            if out.context and _cloud_tells_quotes(content):
                data["message"] = data["message"] | {"contextInfo": out.context}
            return data | {"status": "PENDING"}
    jid = _jid_of(chat, out.number)
    key = {"remoteJid": jid, "fromMe": True, "id": wa_id or shop.new_id("web")}
    if content.message_type == "viewOnceMessage" and jid.endswith("@s.whatsapp.net"):
        key["participant"] = jid
    data = shop.compose(content, key, "Você", "PENDING", "web", None)
    data.pop("contextInfo", None)
    message, context = _with_context(content, out.context)
    told = {} if context is None else {"contextInfo": context}
    return data | {"message": message} | told


def _jid_of(chat: Chat, number: str) -> str:
    """Return the JID of a send: a phone stays one; a LID, if messages came in under the phone."""
    if chat.answers_as is not None:
        return chat.answers_as
    lid = number.endswith(_LID) and chat.identity != "pn_with_lid"
    return number if lid else chat.jid


def _cloud_tells_quotes(content: Content) -> bool:
    media = any(isinstance(part, dict) and "mediaType" in part for part in content.message.values())
    return media or "conversation" in content.message


def _with_context(content: Content, context: Json | None) -> tuple[Json, Json | None]:
    """Return the message with its contextInfo in Baileys' place, and the fields beside it."""
    message = content.message
    if context is None:
        return message, None
    match content.message_type:
        case "reactionMessage":
            return message, None
        case "conversation":
            return message, context
        case "pollCreationMessageV3":
            secret = message["messageContextInfo"] | {"contextInfo": context}
            return message | {"messageContextInfo": secret}, None
        case "viewOnceMessage":
            if "stanzaId" not in context:
                return message, None
            inner = message["viewOnceMessage"]["message"]["interactiveMessage"]
            quoting = {name: value for name, value in context.items() if name in _QUOTE}
            wrapped = {"interactiveMessage": inner | {"contextInfo": quoting}}
            return {"viewOnceMessage": {"message": wrapped}}, None
    kind = content.message_type
    return message | {kind: message[kind] | {"contextInfo": context}}, context


_QUOTE = ("stanzaId", "participant", "remoteJid", "quotedMessage")


def _baileys_context(shop: Instance, number: str, options: Mapping[str, Any]) -> Json | None:
    group = number.endswith(_GROUP)
    context: Json = {}
    if not group:
        stamp = {"low": int(shop.program.now()) - 172_800, "high": 0, "unsigned": False}
        context = {"mentionedJid": [], "groupMentions": []}
        context |= {"ephemeralSettingTimestamp": stamp, "disappearingMode": {"initiator": 0}}
    elif options.get("mentioned"):
        context = {"mentionedJid": [addressed(each) for each in options["mentioned"]]}
    if "quoted" in options:
        context |= _quote(shop, number, options["quoted"])
    return context or None


def _quote(shop: Instance, number: str, quoted: Any) -> Json:
    if not quoted and quoted != {}:  # for JavaScript, null and "" are no quote, but {} is one
        return {}
    key = quoted.get("key") if isinstance(quoted, Mapping) else None
    if not isinstance(key, Mapping):
        raise refused(_NO_KEY)
    message = quoted.get("message")
    if not message:
        stored = shop.store.get(str(key["id"]))
        if stored is None or stored.data["message"] is None:
            return {}
        key, message = stored.data["key"], stored.data["message"]
    author = key.get("participant") or key.get("remoteJid")
    found = {"stanzaId": key["id"], "participant": shop.jid if key.get("fromMe") else author}
    chat = shop.find_chat(str(key.get("remoteJid", number)))
    if chat is not None and not chat.is_at(addressed(number)):
        found["remoteJid"] = key["remoteJid"]
    return found | {"quotedMessage": message}
