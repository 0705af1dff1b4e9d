"""Messages: `messages.upsert` (received or sent by hand), `send.message` (sent through Evolution).

Both have the same format. Whether a message is our own or a human's is decided by the state, which
alone can know.
"""

import re
from collections.abc import Mapping

from router.intake.readers.changes import read_protocol_message
from router.intake.readers.chats import (
    conversation_of,
    is_from_me,
    is_of_own_lid,
    is_with_oneself,
)
from router.intake.readers.envelope import (
    NOTHING_TO_READ,
    Envelope,
    Ignored,
    NotAnEnvelope,
    message_id,
)
from router.whatsapp.bounds import cut_text
from router.whatsapp.clean import JsonObject, as_line, as_object, as_text, as_time
from router.whatsapp.commands import is_command
from router.whatsapp.content import ad_note, context_of, innermost, read_content, read_quoted
from router.whatsapp.jids import JidKind, kind_of
from router.whatsapp.reading import Reading
from router.whatsapp.telling import telling
from router.whatsapp.wamid import corrected

_SEND_MESSAGE = "send.message"
_WHAT = re.compile(r"(\[[A-Za-z]+(?: message| note)?(?:, \d+ seconds?)?)")
TOO_LARGE = "-"  # in place of media that was left out: see `router.intake.sieve`

# Evolution's words, and Meta's for the same.
_STATUSES = {
    **{word: word for word in ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")},
    "SENT": "SERVER_ACK",
    "DELIVERED": "DELIVERY_ACK",
    "FAILED": "ERROR",
}


def read_message(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the event of one message, or of an edit or deletion that comes in a message.

    Raises NotAnEnvelope if it has no id or names no chat.
    """
    key = as_object(data.get("key"))
    wa_id = message_id(key.get("id"))
    sent = envelope.event == _SEND_MESSAGE
    from_me = sent or is_from_me(key)
    jids = conversation_of(envelope, key, from_me=from_me)
    if isinstance(jids, Ignored):
        return jids
    is_to_self = is_with_oneself(envelope, key)
    if not (jids or is_to_self):
        raise NotAnEnvelope("the event names no chat: its key has no remoteJid")
    jids = corrected(jids, wa_id)
    message = innermost(as_object(data.get("message")))
    if "protocolMessage" in message and not is_to_self:
        protocol = as_object(message["protocolMessage"])
        return read_protocol_message(
            envelope, protocol, jids, from_me=from_me, at=data.get("messageTimestamp")
        )
    reading = read_content(message, data.get("messageType"))
    said = _said(data, message, reading)
    if is_to_self and not (from_me and said and (said["quoted"] or _is_command(reading))):
        return Ignored("note to self")
    if said is None:
        return Ignored(NOTHING_TO_READ)
    event = envelope.event_of("message", f"{envelope.event}:{int(from_me)}:{wa_id}")
    event["origin"] = "send" if sent else "upsert"
    event["wa_id"] = wa_id
    event["from_me"] = from_me
    jids = (envelope.owner or "",) if is_to_self else jids
    event["jids"] = list(jids)
    event["status"] = _STATUSES.get(as_line(data.get("status")))
    event["sent_at"] = as_time(data.get("messageTimestamp"))
    if reading is not None:
        event |= _what_for(reading, wa_id, from_me=from_me)
        event |= {} if from_me else _carried(data, reading)
    if from_me and said["quoted"] and is_of_own_lid(envelope, key):
        event["own_lid"] = True
    chat = "self" if is_to_self else jids[0]
    told = event | _names(data, key, chat, from_me=from_me) | said
    return _too_large(told) if _base64(data) == TOO_LARGE else told


def _said(
    data: Mapping[str, object], message: Mapping[str, object], reading: Reading | None
) -> JsonObject | None:
    """Return what the message says, or None if there is nothing to read."""
    context = context_of(data, message)
    note = ad_note(context)
    if reading is None:
        if not note:
            return None
        reading = Reading("text", "")
    return {
        "kind": reading.kind,
        "text": cut_text(f"{reading.text}\n{note}".strip()) if note else reading.text,
        "expects_reply": reading.expects_reply,
        "media": reading.media,
        "quoted": read_quoted(context, message, reading.about),
    }


def _is_command(reading: Reading | None) -> bool:
    """Whether it is a command that people of the business write."""
    return reading is not None and reading.kind == "text" and is_command(reading.text)


def _what_for(reading: Reading, wa_id: str, *, from_me: bool) -> JsonObject:
    """Return the fields by which the state decides how to handle the message.

    For our own message, they identify it. For a contact's, they say whether and how soon a message
    without words is answered; and, from the business's people, whether it is a command.
    """
    told: JsonObject = {}
    if _is_command(reading):
        told["is_command"] = True
    if from_me:
        return {"telling": telling(reading, wa_id), **told}
    if reading.about_ours:
        told["about_ours"] = True
    if reading.pictures:
        told["pictures"] = reading.pictures
    if reading.transcript:
        told["transcript"] = cut_text(reading.transcript)
    return told


def _base64(data: Mapping[str, object]) -> object:
    """Return what is left of the media inside the webhook; its content is not read here."""
    return as_object(data.get("message")).get("base64")


def _carried(data: Mapping[str, object], reading: Reading) -> JsonObject:
    """Return whether the webhook contained the media itself."""
    return {} if reading.media is None or _base64(data) is None else {"carried": True}


def _too_large(event: JsonObject) -> JsonObject:
    """Return the event of media that was left out of its webhook, marked as such."""
    media = event.get("media")
    if not isinstance(media, dict):
        return event
    text = _WHAT.sub(r"\1, too large", as_text(event.get("text")), count=1)
    return {**event, "text": text, "media": {**media, "too_large": True}}


def _names(
    data: Mapping[str, object], key: Mapping[str, object], chat: str, *, from_me: bool
) -> JsonObject:
    """Return `chat`, `author_name` and `participant_name`; `chat` is a JID, or `self`.

    The pushName of our own message is not used: it is the business's name, "Você", or even the
    customer's name. If Evolution knows no name, it gives the participant's number instead.
    """
    if chat == "self":
        return {"chat": chat, "participant_name": None, "author_name": None}
    group = kind_of(chat) is JidKind.GROUP
    name = None if from_me else as_line(data.get("pushName")) or None
    participant = key.get("participant")
    if name and isinstance(participant, str) and participant.startswith(name + "@"):
        name = None
    return {
        "chat": "group" if group else "contact",
        "participant_name": name if group else None,
        "author_name": name,
    }
