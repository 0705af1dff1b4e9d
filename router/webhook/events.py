"""From the body of a webhook to the events that the state takes: `parse_webhook`.

Pure and fast, for it runs on every webhook. It is tolerant: a field that is missing or of another
type than Evolution sends is as if it were empty. Only what cannot be recorded at all is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from router.webhook.changes import read_deleted, read_edited, read_status
from router.webhook.clean import JsonObject
from router.webhook.connection import read_connection, read_logout, read_qrcode, read_removal
from router.webhook.envelope import NOTHING_TO_READ, Envelope, Ignored, NotAnEnvelope, open_envelope
from router.webhook.messages import read_message
from router.webhook.probes import PROBE_EVENT, read_probe

__all__ = ["NotAnEnvelope", "Parsed", "in_pieces", "parse_webhook"]

_PIECE = 100  # events that are read in one go; some milliseconds


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a webhook says: `events` for the state, or else why it is `ignored`.

    Each event is a JSON object that PostgreSQL can store: `instance`, `event`, `type` and `key`
    (the same for every delivery of the event), and the fields of its type.
    """

    event: str
    events: tuple[JsonObject, ...]
    ignored: str | None


_Outcome: TypeAlias = JsonObject | Ignored
_Reader: TypeAlias = Callable[[Envelope, Mapping[str, object]], _Outcome]

_MESSAGE_READERS: dict[str, _Reader] = {
    "messages.upsert": read_message,
    "send.message": read_message,
    "messages.edited": read_edited,
    "messages.delete": read_deleted,
    "messages.update": read_status,
}
_INSTANCE_READERS: dict[str, _Reader] = {
    "connection.update": read_connection,
    "qrcode.updated": read_qrcode,
    "logout.instance": read_logout,
    "remove.instance": read_removal,
    "instance.delete": read_removal,
    PROBE_EVENT: read_probe,
}
_REASONS = {"messages.set": "history sync"}


def in_pieces(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Return the webhook as several with few events each, in order; nearly always it is one."""
    data = body.get("data")
    if not isinstance(data, list) or len(data) <= _PIECE:
        yield body
        return
    for start in range(0, len(data), _PIECE):
        yield {**body, "data": data[start : start + _PIECE]}


def parse_webhook(instance: str, body: Mapping[str, object]) -> Parsed:
    """Return what the webhook says that came in for `instance` with this decoded JSON body.

    `events` and `ignored` are never both empty. Raises NotAnEnvelope if the body names no event or
    another instance, or if an event that matters lacks what recording it takes.
    """
    envelope = open_envelope(instance, body)
    data = body.get("data")
    if (of_message := _MESSAGE_READERS.get(envelope.event)) is not None:
        outcomes = _read_each(of_message, envelope, data)
    elif (of_instance := _INSTANCE_READERS.get(envelope.event)) is not None:
        if not isinstance(data, dict | None):
            raise NotAnEnvelope(f"the data of {envelope.event} is not an object")
        outcomes = [of_instance(envelope, data or {})]
    else:
        reason = _REASONS.get(envelope.event, f"event not used: {envelope.event}")
        return Parsed(envelope.event, (), reason)

    events = tuple(outcome for outcome in outcomes if not isinstance(outcome, Ignored))
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Ignored)]
    return Parsed(envelope.event, events, None if events else reasons[0])


def _read_each(reader: _Reader, envelope: Envelope, data: object) -> list[_Outcome]:
    """Read one object or a list of them; what cannot be recorded costs only itself."""
    outcomes: list[_Outcome] = []
    refused: NotAnEnvelope | None = None
    for item in data if isinstance(data, list) else [data]:
        try:
            outcomes.append(reader(envelope, _object(envelope, item)))
        except NotAnEnvelope as error:
            refused = error
    if outcomes:
        return outcomes
    if refused is not None:
        raise refused
    return [Ignored(NOTHING_TO_READ)]


def _object(envelope: Envelope, item: object) -> Mapping[str, object]:
    if not isinstance(item, dict):
        raise NotAnEnvelope(f"the data of {envelope.event} is not an object")
    return item
