"""The envelope of a webhook: `{event, instance, data, date_time, sender}` and more.

Its `apikey` is the instance's token or, on the Cloud channel, Meta's access token: it is never
read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from router.whatsapp.clean import JsonObject, as_line, clean
from router.whatsapp.jids import JidKind, kind_of, normalise_jid

_LONGEST_ID = 250
_LONGEST_EVENT = 60
_LONGEST_TIME = 40
NOTHING_TO_READ = "nothing to read"
ENVELOPE_FIELDS = ("event", "instance", "sender", "date_time")  # no others are read


class NotAnEnvelope(ValueError):
    """The body is not a webhook of Evolution API, or contains too little to be recorded."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Accepted and deliberately not used, with the reason in a few English words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all events of one webhook have in common.

    `owner` is the JID of the instance's own account, if Evolution names it (`sender`). `date_time`
    is when Evolution made the event: the same in all deliveries of it, in an unreliable time zone.
    """

    instance: str
    event: str
    owner: str | None
    date_time: str

    def event_of(self, kind: str, key: str) -> JsonObject:
        """Return the fields that every event has; `key` is the same for every delivery of it.

        `made_at` is `date_time`, if it can be parsed; it may be wrong by some hours.
        """
        event: JsonObject = {
            "instance": self.instance,
            "event": self.event,
            "type": kind,
            "key": key,
        }
        made_at = _moment(self.date_time)
        return event if made_at is None else event | {"made_at": made_at}


def open_envelope(instance: str, body: Mapping[str, object]) -> Envelope:
    """Read the envelope of a webhook that came in under the name of `instance`.

    Raises NotAnEnvelope if it names no event, or another instance.
    """
    event = body.get("event")
    if not isinstance(event, str) or not event.strip():
        raise NotAnEnvelope("the body names no event: it is not a webhook of Evolution API")
    named = body.get("instance")
    if named is not None and named != instance:
        raise NotAnEnvelope(
            "the webhook's URL and its body name different instances: set the URL of each"
            " instance's webhook to /webhook/<its own name>"
        )
    sender = body.get("sender")
    owner = normalise_jid(sender) if isinstance(sender, str) and sender else None
    return Envelope(
        instance=clean(instance),
        event=_dotted(event),
        owner=owner if owner and kind_of(owner) is JidKind.PHONE else None,
        date_time=as_line(body.get("date_time"))[:_LONGEST_TIME],
    )


def message_id(value: object) -> str:
    """Return the id of a message. Raises NotAnEnvelope if there is none: it is needed to record."""
    wa_id = clean(value).strip() if isinstance(value, str) else ""
    if not wa_id or len(wa_id) > _LONGEST_ID:
        raise NotAnEnvelope("the event names no message: its key has no id")
    return wa_id


def _moment(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def _dotted(event: str) -> str:
    """Return `messages.upsert` for `MESSAGES_UPSERT` and for `messages-upsert`."""
    name = as_line(event)[:_LONGEST_EVENT].lower()
    return name if "." in name else name.replace("_", ".").replace("-", ".")
