"""Reads what happens to a message later: it is edited, deleted, delivered, read.

`messages.edited` contains WhatsApp's protocolMessage from the editor's point of view: if a contact
edits or deletes, it says `fromMe: true` and names the business as the chat (reported as
EvolutionAPI/evolution-api#1367 and #1647). If that chat is the business's phone JID in the
envelope, this is corrected. If it is the business's LID, `from_me` stays wrong, and only `wa_id` is
certain. `messages.delete`, and a protocolMessage inside messages.upsert, are reported from the
business's point of view.
"""

import hashlib
from collections.abc import Mapping

from router.intake.readers.chats import conversation_of, is_from_me
from router.intake.readers.envelope import NOTHING_TO_READ, Envelope, Ignored, message_id
from router.whatsapp.clean import JsonObject, as_line, as_number, as_object, as_time
from router.whatsapp.content import innermost, read_content
from router.whatsapp.jids import chat_of

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
    # words of the Cloud API
    "SENT": "server_ack",
    "DELIVERED": "delivery_ack",
    "FAILED": "error",
}


def read_edited(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the edit or deletion of `messages.edited`.

    Evolution sends every protocolMessage under this name, including settings and key exchanges.
    Raises NotAnEnvelope if an edit or a deletion names no message.
    """
    if _kind_of(data) is None:
        return Ignored(NOTHING_TO_READ)
    key = as_object(data.get("key"))
    from_me = is_from_me(key)
    if envelope.owner is not None and chat_of(key) == envelope.owner:
        from_me = not from_me
    jids = conversation_of(envelope, key, from_me=from_me)
    if isinstance(jids, Ignored):
        return jids
    return read_protocol_message(envelope, data, jids, from_me=from_me)


def read_protocol_message(
    envelope: Envelope,
    protocol: Mapping[str, object],
    jids: tuple[str, ...],
    *,
    from_me: bool,
    at: object = None,
) -> JsonObject | Ignored:
    """Return the edit or deletion in a protocolMessage; Ignored for anything else.

    `at` is the time of the edit if the protocolMessage has none. Raises NotAnEnvelope if it names
    no message.
    """
    kind = _kind_of(protocol)
    if kind is None:
        return Ignored(NOTHING_TO_READ)
    wa_id = message_id(as_object(protocol.get("key")).get("id"))
    if kind is _REVOKE:
        return _deletion(envelope, wa_id, jids, from_me=from_me)
    reading = read_content(innermost(as_object(protocol.get("editedMessage"))))
    if reading is None:
        return Ignored(NOTHING_TO_READ)
    moment = protocol.get("timestampMs")
    digest = hashlib.sha256(reading.text.encode()).hexdigest()[:16]
    event = envelope.event_of("edit", f"edit:{wa_id}:{as_number(moment) or ''}:{digest}")
    return event | {
        "wa_id": wa_id,
        "from_me": from_me,
        "jids": list(jids),
        "text": reading.text,
        "edited_at": as_time(moment) or as_time(at),
    }


def _kind_of(protocol: Mapping[str, object]) -> tuple[str, int] | None:
    kind = protocol.get("type")
    if kind is None:
        return _EDIT if isinstance(protocol.get("editedMessage"), dict) else None
    if isinstance(kind, bool):
        return None
    return _REVOKE if kind in _REVOKE else _EDIT if kind in _EDIT else None


def _deletion(
    envelope: Envelope, wa_id: str, jids: tuple[str, ...], *, from_me: bool
) -> JsonObject:
    event = envelope.event_of("delete", f"delete:{wa_id}")
    return event | {"wa_id": wa_id, "from_me": from_me, "jids": list(jids)}


def read_deleted(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the deletion in `messages.delete`, whose data is a key, or a message with its key.

    Raises NotAnEnvelope if it names no message.
    """
    key = as_object(data["key"]) if "key" in data else data
    wa_id = message_id(key.get("id"))
    from_me = is_from_me(key)
    jids = conversation_of(envelope, key, from_me=from_me)
    if isinstance(jids, Ignored):
        return jids
    return _deletion(envelope, wa_id, jids, from_me=from_me)


def read_status(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the delivery state in `messages.update`.

    `fromMe` is left out: the Cloud channel says false for our own messages. DELETED does not count
    as a state: older versions also use it for edits, and a real deletion comes as messages.delete.
    Raises NotAnEnvelope if it names no message.
    """
    key = as_object(data["key"]) if "key" in data else data
    wa_id = message_id(data.get("keyId") or key.get("id"))
    jids = conversation_of(envelope, key, from_me=True)
    if isinstance(jids, Ignored):
        return jids
    word = as_line(data.get("status")).upper()
    status = _STATUSES.get(word)
    if status is None:
        return Ignored(f"status not used: {word[:20] or 'none'}")
    event = envelope.event_of("status", f"messages.update:{wa_id}:{status}")
    event |= {"wa_id": wa_id, "jids": list(jids), "status": status}
    code = _error_code(data)
    return event | {"code": code} if status == "error" and code else event


def _error_code(data: Mapping[str, object]) -> str | None:
    """Return WhatsApp's error code; Evolution 2.3.6 passes on neither of the two forms.

    Meta's code is in `errors`, Baileys' in `messageStubParameters`, as in both programs.
    """
    for name in ("errors", "messageStubParameters"):
        listed = data.get(name)
        if isinstance(listed, list) and listed:
            first = listed[0]
            code = first.get("code") if isinstance(first, dict) else first
            number = None if isinstance(code, bool) else as_number(code)
            if number is not None:
                return str(number)
    return None
