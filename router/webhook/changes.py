"""What happens to a message afterwards: it is edited, deleted, delivered, read.

`messages.edited` carries WhatsApp's protocolMessage as the one who edits sent it: what a contact edits
or deletes says `fromMe: true` and names the business as the chat (Evolution's issues 1367 and 1647).
Where the envelope says who the business is, that is put right; `wa_id` is right always. The other ways
(`messages.delete`, and a protocolMessage inside messages.upsert) are told from the business's side.
"""

import hashlib
from collections.abc import Mapping

from router.webhook.chats import says_true, used_chat
from router.webhook.clean import JsonObject, as_line, as_number, as_object, as_time
from router.webhook.content import innermost, read_content
from router.webhook.envelope import NOTHING_TO_READ, Envelope, Ignored, message_id
from router.webhook.jids import chat_of, identities

# ProtocolMessage.Type in WhatsApp's protocol, by name or by number.
_REVOKE = ("REVOKE", 0)
_EDIT = ("MESSAGE_EDIT", 14)

_STATUSES = {
    "PENDING": "pending",
    "SERVER_ACK": "server_ack",
    "DELIVERY_ACK": "delivery_ack",
    "READ": "read",
    "PLAYED": "played",
    "ERROR": "error",
    # the Cloud API's
    "SENT": "server_ack",
    "DELIVERED": "delivery_ack",
    "FAILED": "error",
}


def read_edited(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the edit or deletion of `messages.edited`.

    Evolution sends every protocolMessage under this name, settings and key exchanges included.
    Raises NotAnEnvelope for an edit or deletion of nothing.
    """
    inner = innermost(as_object(data.get("message"))).get("protocolMessage")
    protocol = as_object(inner) if isinstance(inner, dict) else data
    key = as_object(protocol.get("key"))
    if chat_of(key) == envelope.owner is not None:
        return change_inside(envelope, protocol, (), from_me=not says_true(key.get("fromMe")))
    if _kind_of(protocol) is None:
        return Ignored(NOTHING_TO_READ)
    chat = used_chat(envelope, key)
    if isinstance(chat, Ignored):
        return chat
    from_me = says_true(key.get("fromMe"))
    jids = identities(key, chat, from_me=from_me, owner=envelope.owner)
    return change_inside(envelope, protocol, jids, from_me=from_me)


def change_inside(
    envelope: Envelope,
    protocol: Mapping[str, object],
    jids: tuple[str, ...],
    *,
    from_me: bool,
    at: object = None,
) -> JsonObject | Ignored:
    """Return the edit or deletion that a protocolMessage is; Ignored for all else that it may be.

    `at` is the time of the edit where the protocolMessage says none.
    """
    kind = _kind_of(protocol)
    if kind is None:
        return Ignored(NOTHING_TO_READ)
    wa_id = message_id(as_object(protocol.get("key")).get("id"))
    who: JsonObject = {"wa_id": wa_id, "from_me": from_me, "jids": list(jids)}
    if kind is _REVOKE:
        return envelope.event_of("delete", f"delete:{wa_id}") | who
    reading = read_content(innermost(as_object(protocol.get("editedMessage"))))
    if reading is None:
        return Ignored(NOTHING_TO_READ)
    moment = protocol.get("timestampMs")
    digest = hashlib.sha256(reading.text.encode()).hexdigest()[:16]
    event = envelope.event_of("edit", f"edit:{wa_id}:{as_number(moment) or ''}:{digest}")
    return event | who | {"text": reading.text, "edited_at": as_time(moment) or as_time(at)}


def _kind_of(protocol: Mapping[str, object]) -> tuple[str, int] | None:
    kind = protocol.get("type")
    if isinstance(kind, bool) or not isinstance(kind, str | int):
        return _EDIT if isinstance(protocol.get("editedMessage"), dict) else None
    return _REVOKE if kind in _REVOKE else _EDIT if kind in _EDIT else None


def read_deleted(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the deletion of `messages.delete`: a key, or a stored message with its key.

    Raises NotAnEnvelope if it names no message or no chat.
    """
    key = as_object(data["key"]) if isinstance(data.get("key"), dict) else data
    wa_id = message_id(key.get("id"))
    chat = used_chat(envelope, key)
    if isinstance(chat, Ignored):
        return chat
    from_me = says_true(key.get("fromMe"))
    jids = identities(key, chat, from_me=from_me, owner=envelope.owner)
    event = envelope.event_of("delete", f"delete:{wa_id}")
    return event | {"wa_id": wa_id, "from_me": from_me, "jids": list(jids)}


def read_status(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the delivery state of `messages.update`.

    `fromMe` is not passed on: the Cloud channel says false for our own. DELETED is ignored: Evolution
    says it of edits, too, and reports a real deletion as messages.delete.
    Raises NotAnEnvelope if it names no message.
    """
    key = as_object(data.get("key"))
    wa_id = message_id(data.get("keyId") or key.get("id"))
    fields = data if "remoteJid" in data else key
    chat = used_chat(envelope, fields)
    if isinstance(chat, Ignored):
        return chat
    word = as_line(data.get("status")).upper()
    status = _STATUSES.get(word)
    if status is None:
        return Ignored(f"status not used: {word[:20] or 'none'}")
    jids = identities(fields, chat, from_me=True, owner=envelope.owner)
    event = envelope.event_of("status", f"messages.update:{wa_id}:{status}")
    return event | {"wa_id": wa_id, "jids": list(jids), "status": status}
