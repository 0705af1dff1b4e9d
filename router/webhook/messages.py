"""Messages: `messages.upsert` (received, or sent by hand) and `send.message` (sent through Evolution).

Both carry one shape. What is only known to the state (is it our own, is it a human's) is not judged
here.
"""

from collections.abc import Mapping

from router.webhook.changes import change_inside
from router.webhook.chats import says_true, used_chat
from router.webhook.clean import JsonObject, as_line, as_object, as_time
from router.webhook.content import ad_note, context_of, innermost, read_content, read_quoted
from router.webhook.envelope import NOTHING_TO_READ, Envelope, Ignored, message_id
from router.webhook.jids import JidKind, identities, kind_of
from router.webhook.reading import Reading
from router.webhook.wamid import corrected

SEND_MESSAGE = "send.message"

# Evolution's words, and Meta's for the same.
_STATUSES = {name: name for name in ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")}
_STATUSES |= {"SENT": "SERVER_ACK", "DELIVERED": "DELIVERY_ACK", "FAILED": "ERROR"}


def read_message(envelope: Envelope, data: Mapping[str, object]) -> JsonObject | Ignored:
    """Return the event of one message; of an edit or a deletion that comes as a message, that one's.

    Raises NotAnEnvelope if it has no id or names no chat.
    """
    key = as_object(data.get("key"))
    wa_id = message_id(key.get("id"))
    chat = used_chat(envelope, key)
    if isinstance(chat, Ignored):
        return chat
    sent = envelope.event == SEND_MESSAGE
    from_me = sent or says_true(key.get("fromMe"))
    jids = corrected(identities(key, chat, from_me=from_me, owner=envelope.owner), wa_id)
    message = innermost(as_object(data.get("message")))
    if "protocolMessage" in message:
        return change_inside(
            envelope, as_object(message["protocolMessage"]), jids, from_me=from_me, at=data.get("messageTimestamp")
        )
    reading = read_content(message, data.get("messageType"))
    context = context_of(data, message)
    note = ad_note(context)
    if reading is None and not note:
        return Ignored(NOTHING_TO_READ)
    reading = reading or Reading("text", "")
    event = envelope.event_of("message", f"{envelope.event}:{int(from_me)}:{wa_id}")
    event |= {
        "origin": "send" if sent else "upsert",
        "wa_id": wa_id,
        "from_me": from_me,
        "jids": list(jids),
        **_names(data, key, jids[0], from_me=from_me),
        "status": _STATUSES.get(as_line(data.get("status"))),
        "kind": reading.kind,
        "text": f"{reading.text}\n{note}".strip() if note else reading.text,
        "expects_reply": reading.expects_reply,
        "media": reading.media,
        "quoted": read_quoted(context, message, reading.about),
        "sent_at": as_time(data.get("messageTimestamp")),
    }
    return event


def _names(
    data: Mapping[str, object], key: Mapping[str, object], chat: str, *, from_me: bool
) -> JsonObject:
    """Return `chat`, `author_name` and `participant_name`.

    pushName of an own message is the business's name, "Você", or even the customer's: of no use.
    Where Evolution knows no name it puts the participant's number in its place.
    """
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
