"""Reads the body of a webhook into events for the state: `open_webhook`, `read_piece`.

It is pure and fast, because it runs for every webhook. It is tolerant: a field that is missing, or
has an unexpected type, counts as empty. It refuses only what cannot be recorded at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from router.intake.readers.changes import read_deleted, read_edited, read_status
from router.intake.readers.connection import read_connection, read_logout, read_qrcode, read_removal
from router.intake.readers.envelope import (
    ENVELOPE_FIELDS,
    NOTHING_TO_READ,
    Envelope,
    Ignored,
    NotAnEnvelope,
    open_envelope,
)
from router.intake.readers.messages import TOO_LARGE, read_message
from router.intake.readers.probes import PROBE_EVENT, read_probe
from router.whatsapp.bounds import MOST_OF_AN_ITEM, bounded
from router.whatsapp.clean import JsonObject
from router.whatsapp.lengths import storable

__all__ = [
    "NotAnEnvelope",
    "Parsed",
    "Piece",
    "Webhook",
    "open_webhook",
    "parse_webhook",
    "read_piece",
]

MOST_ITEMS = 1_000  # in one webhook; Evolution sends one at a time
_PIECE = 100  # items that are read without a pause; that takes some milliseconds


Piece: TypeAlias = tuple[Mapping[str, object] | None, ...]
"""Some items of a webhook, with their sizes limited; None for an item that is not an object."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An opened webhook: its content in pieces, or why it is `ignored`.

    `media` is its only media, in base64.
    """

    envelope: Envelope
    pieces: tuple[Piece, ...]
    ignored: str | None
    media: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The content of a webhook: `events` for the state, or why it is `ignored`.

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


def open_webhook(instance: str, body: Mapping[str, object]) -> Webhook:
    """Open the webhook that came in for `instance` with this decoded body, once for all pieces.

    The size of everything read later is limited here (`router.whatsapp.bounds`). Raises
    NotAnEnvelope if the body names no event or another instance, or has content that no webhook may
    have.
    """
    head, _ = bounded({name: body[name] for name in ENVELOPE_FIELDS if name in body})
    envelope = open_envelope(instance, head)
    data = body.get("data")
    if envelope.event in _MESSAGE_READERS:
        items = data if isinstance(data, list) else [data]
        if len(items) > MOST_ITEMS:
            raise NotAnEnvelope(f"a webhook may carry {MOST_ITEMS} events at most")
        return Webhook(envelope, tuple(_in_pieces(items)), None, _media_in(items))
    if envelope.event in _INSTANCE_READERS:
        if not isinstance(data, dict | None):
            raise NotAnEnvelope(f"the data of {envelope.event} is not an object")
        return Webhook(envelope, ((bounded(data or {})[0],),), None)
    reason = _REASONS.get(envelope.event, f"event not used: {envelope.event}")
    return Webhook(envelope, (), reason)


def _media_in(items: Sequence[object]) -> str | None:
    """Return the media of a webhook with one message, and remove it from the items."""
    item = items[0] if len(items) == 1 else None
    message = item.get("message") if isinstance(item, dict) else None
    media = message.get("base64") if isinstance(message, dict) else None
    return media if isinstance(media, str) and media not in ("", TOO_LARGE) else None


def _in_pieces(items: Sequence[object]) -> Iterator[Piece]:
    """Divide the items into pieces, at least one; long items make smaller pieces.

    The size of each item is limited here; an item that is not an object becomes None.
    """
    piece: list[Mapping[str, object] | None] = []
    characters = 0
    for item in items:
        kept, number = bounded(item) if isinstance(item, dict) else (None, 0)
        if piece and (len(piece) == _PIECE or characters + number > MOST_OF_AN_ITEM):
            yield tuple(piece)
            piece, characters = [], 0
        piece.append(kept)
        characters += number
    yield tuple(piece)


def read_piece(envelope: Envelope, piece: Piece) -> Parsed:
    """Return the content of one piece of a webhook.

    `events` and `ignored` are never both empty. Raises NotAnEnvelope if none of its items can be
    read.
    """
    of_instance = _INSTANCE_READERS.get(envelope.event)
    reader = _MESSAGE_READERS[envelope.event] if of_instance is None else of_instance
    outcomes = _read_each(reader, envelope, piece)
    events = tuple(storable(outcome) for outcome in outcomes if not isinstance(outcome, Ignored))
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Ignored)]
    return Parsed(envelope.event, events, None if events else reasons[0])


def parse_webhook(instance: str, body: Mapping[str, object]) -> Parsed:
    """Return the content of the whole webhook: `read_piece` for all its pieces together."""
    webhook = open_webhook(instance, body)
    if webhook.ignored is not None:
        return Parsed(webhook.envelope.event, (), webhook.ignored)
    everything = tuple(item for piece in webhook.pieces for item in piece)
    return read_piece(webhook.envelope, everything)


def _read_each(reader: _Reader, envelope: Envelope, piece: Piece) -> list[_Outcome]:
    """Read every item of a piece; an item that cannot be recorded does not affect the others."""
    outcomes: list[_Outcome] = []
    refused: NotAnEnvelope | None = None
    for item in piece:
        try:
            outcomes.append(reader(envelope, _object(envelope, item)))
        except NotAnEnvelope as error:
            refused = error
    if outcomes:
        return outcomes
    if refused is not None:
        raise refused
    return [Ignored(NOTHING_TO_READ)]


def _object(envelope: Envelope, item: Mapping[str, object] | None) -> Mapping[str, object]:
    if item is None:
        raise NotAnEnvelope(f"the data of {envelope.event} is not an object")
    return item
