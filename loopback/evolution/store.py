"""An instance's stored messages, and the search of POST /chat/findMessages.

It works like fetchMessages in the source of Evolution API 2.3 (channel.service.ts and
whatsapp.baileys.service.ts). A caller must know:

- `fromMe: false` is no filter, only `true` is;
- `messageTimestamp` filters only if both `gte` and `lte` are given, as dates (ISO text, or a number
  of milliseconds), and compares whole seconds; its column has 32 bits, so an end after
  2038-01-19T03:14:07Z is an error, and so is a text that is not a date;
- `offset` is the size of a page (50 by default), `limit` has no effect; newest first;
- the chat is found by the stored `key.remoteJid`: a message stored with a LID is not found by its
  phone JID. `key.remoteJidAlt` (Baileys only) narrows a search, and never widens it;
- a record has no `status`, only `MessageUpdate`, in no particular order;
- an own send that comes back as an upsert is stored a second time;
- an edit moves `messageTimestamp` to the time of the edit; a deletion leaves `message` null.
"""

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, floor
from typing import Any

from loopback.evolution.answers import Refusal

Json = dict[str, Any]

_RECORD = (
    "id", "key", "pushName", "messageType", "message",
    "messageTimestamp", "instanceId", "source", "contextInfo",
)  # fmt: skip
_INT4 = (-(2**31), 2**31 - 1)
_SOURCES = ("ios", "android", "web", "unknown", "desktop")


@dataclass(slots=True)
class Stored:
    """One stored message: its row's id, the webhook's data, and its later states."""

    row: str
    data: Json
    states: list[str] = field(default_factory=list)

    @property
    def wa_id(self) -> str:
        """WhatsApp's id of the message."""
        return str(self.data["key"]["id"])

    @property
    def sent_at(self) -> int:
        """When it was sent, or edited, in seconds since 1970."""
        return int(self.data.get("messageTimestamp") or 0)

    def edit(self, message: Json, at: float) -> None:
        """Change the message like an edit: its text and its time become those of the edit."""
        self.data = self.data | {"message": message, "messageTimestamp": int(at)}
        self.states.append("EDITED")

    def revoke(self, at: float) -> None:
        """Change the message like a deletion on a phone: its content is removed."""
        self.data = self.data | {"message": None, "messageTimestamp": int(at)}
        self.states += ["EDITED", "DELETED"]

    def record(self) -> Json:
        """Return the message in the format of findMessages."""
        values = {"contextInfo": None, "pushName": None} | self.data | {"id": self.row}
        listed = {name: _as_kept(values.get(name)) for name in _RECORD}
        states = random.sample(self.states, len(self.states))
        return listed | {"MessageUpdate": [{"status": state} for state in states]}


class MessageStore:
    """The stored messages of one instance, in the order of their arrival."""

    def __init__(self) -> None:
        self._messages: list[Stored] = []
        self._first: dict[str, Stored] = {}
        self._received: set[str] = set()

    def add_received(self, row: str, data: Json) -> None:
        """Store a received message; if its id is stored already, the stored one stays unchanged."""
        wa_id = str(data["key"]["id"])
        if wa_id not in self._received:
            self._received.add(wa_id)
            self.add_sent(row, data)

    def add_sent(self, row: str, data: Json) -> None:
        """Store a message that was sent through the REST API."""
        stored = Stored(row, data)
        self._messages.append(stored)
        self._first.setdefault(stored.wa_id, stored)

    def get(self, wa_id: str) -> Stored | None:
        """Return the message with this WhatsApp id; the first one, if it is stored twice."""
        return self._first.get(wa_id)

    def find(self, query: Mapping[str, Any]) -> Json:
        """Answer the body of a findMessages call. Raises Refusal if the database refuses it."""
        where = query.get("where") or {}
        _check(where)
        found = [stored for stored in self._messages if _matches(stored, where)]
        found.reverse()  # the sort is stable: messages of one second stay newest first
        found.sort(key=lambda stored: stored.sent_at, reverse=True)
        size, page = query.get("offset") or 50, query.get("page") or 1
        if not (_is_count(size) and _is_count(page)):
            raise _prisma("findMany", "Invalid value for argument `skip`: Expected Int.")
        shown: Sequence[Stored] = found[size * (page - 1) : size * page]
        return {
            "messages": {
                "total": len(found),
                "pages": ceil(len(found) / size),
                "currentPage": page,
                "records": [stored.record() for stored in shown],
            }
        }


def _check(where: Mapping[str, Any]) -> None:
    if where.get("source") is not None and where["source"] not in _SOURCES:
        raise _prisma("count", "Invalid value for argument `source`. Expected DeviceMessage.")
    for moment in _range(where) or ():
        seconds = _seconds(moment)
        if seconds is None:
            raise _prisma("count", "Argument `gte` is invalid: Expected IntFilter or Int, is NaN.")
        if not _INT4[0] <= seconds <= _INT4[1]:
            why = f"Unable to fit integer value '{seconds}' into an INT4 (32-bit signed integer)."
            raise _prisma("count", why)


def _matches(stored: Stored, where: Mapping[str, Any]) -> bool:
    data, key = stored.data, stored.data["key"]
    wanted = where.get("key") or {}
    for name in ("id", "fromMe", "participant", "remoteJid"):
        if wanted.get(name) and key.get(name) != wanted[name]:
            return False
    alternative = wanted.get("remoteJidAlt")
    if alternative and not wanted.get("remoteJid") and key.get("remoteJidAlt") != alternative:
        return False
    for name in ("source", "messageType"):
        if where.get(name) is not None and not _is_among(data.get(name), where[name]):
            return False
    if where.get("id") is not None and stored.row != where["id"]:
        return False
    if (times := _range(where)) is None:
        return True
    since, until = (_seconds(moment) or 0 for moment in times)
    return data.get("messageTimestamp") is not None and since <= stored.sent_at <= until


def _is_among(value: object, wanted: Any) -> bool:
    return value in wanted["in"] if isinstance(wanted, Mapping) else value == wanted


def _range(where: Mapping[str, Any]) -> tuple[Any, Any] | None:
    times = where.get("messageTimestamp")
    if isinstance(times, Mapping) and times.get("gte") and times.get("lte"):
        return times["gte"], times["lte"]
    return None


def _seconds(value: Any) -> int | None:
    """Return JavaScript's `Math.floor(new Date(value).getTime() / 1000)`; None for NaN."""
    if isinstance(value, bool | int | float):
        return floor(value / 1000)
    if not isinstance(value, str) or value.isdigit():
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _prisma(call: str, why: str) -> Refusal:
    """Return the error of the database client, which is a text and not a list."""
    invoked = f"`this.prismaRepository.message.{call}()`"
    return Refusal(500, f"\nInvalid {invoked} invocation in\n/evolution/dist/main.js\n\n{why}")


def _as_kept(value: Any) -> Any:
    """Return a value as stored in the database: bytes become base64."""
    if isinstance(value, list):
        return [_as_kept(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and all(str(place) in value for place in range(len(value))):
        return base64.b64encode(bytes(value.values())).decode()
    return {name: _as_kept(item) for name, item in value.items()}
