"""What an instance has stored of its messages, and how POST /chat/findMessages looks through it.

As fetchMessages in the source of Evolution API 2.3 (channel.service.ts and
whatsapp.baileys.service.ts). Its ways that a caller must know:

- `fromMe: false` is no filter, only `true` is;
- `messageTimestamp` filters only if both `gte` and `lte` are given, as dates (ISO text, or a number
  of milliseconds), and compares whole seconds;
- `offset` is the size of a page (50 by default), `limit` means nothing; newest first;
- the chat is looked up by `key.remoteJid` as stored, so a message stored under a LID is not found
  by its phone JID, but where the version looks at it, by `key.remoteJidAlt`;
- a record has no `status` of its own, only `MessageUpdate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, floor
from typing import Any

Json = dict[str, Any]

_RECORD = (
    "id", "key", "pushName", "messageType", "message",
    "messageTimestamp", "instanceId", "source", "contextInfo",
)  # fmt: skip


@dataclass(slots=True)
class Stored:
    """One stored message: its row's id, its data as in the webhook, and its later states."""

    row: str
    data: Json
    states: list[str] = field(default_factory=list)

    @property
    def wa_id(self) -> str:
        """WhatsApp's id of the message."""
        return str(self.data["key"]["id"])

    def record(self) -> Json:
        """Return the message as findMessages lists it."""
        values = {"contextInfo": None, "pushName": None} | self.data | {"id": self.row}
        listed = {name: values[name] for name in _RECORD}
        return listed | {"MessageUpdate": [{"status": state} for state in self.states]}


class MessageStore:
    """The stored messages of one instance, in the order of their arrival."""

    def __init__(self) -> None:
        self._messages: dict[str, Stored] = {}

    def add(self, row: str, data: Json) -> Stored:
        """Store a message; one with a known id stays as it was first stored."""
        return self._messages.setdefault(str(data["key"]["id"]), Stored(row, data))

    def get(self, wa_id: str) -> Stored | None:
        """Return the message with WhatsApp's id."""
        return self._messages.get(wa_id)

    def find(self, query: Mapping[str, Any]) -> Json:
        """Answer the body of a findMessages call."""
        where = query.get("where") or {}
        found = [stored for stored in self._messages.values() if _matches(stored, where)]
        found.reverse()  # the sort is stable: those of one second stay newest first
        found.sort(key=lambda stored: int(stored.data["messageTimestamp"]), reverse=True)
        size, page = int(query.get("offset") or 50), int(query.get("page") or 1)
        shown: Sequence[Stored] = found[size * (page - 1) : size * page]
        return {
            "messages": {
                "total": len(found),
                "pages": ceil(len(found) / size),
                "currentPage": page,
                "records": [stored.record() for stored in shown],
            }
        }


def _matches(stored: Stored, where: Mapping[str, Any]) -> bool:
    data, key = stored.data, stored.data["key"]
    wanted = where.get("key") or {}
    for name in ("id", "fromMe", "participant"):
        if wanted.get(name) and key.get(name) != wanted[name]:
            return False
    for name in ("source", "messageType"):
        if where.get(name) is not None and data.get(name) != where[name]:
            return False
    if where.get("id") is not None and stored.row != where["id"]:
        return False
    chats = [name for name in ("remoteJid", "remoteJidAlt") if wanted.get(name)]
    if chats and not any(key.get(name) == wanted[name] for name in chats):
        return False
    times = where.get("messageTimestamp") or {}
    if times.get("gte") and times.get("lte"):
        return _seconds(times["gte"]) <= int(data["messageTimestamp"]) <= _seconds(times["lte"])
    return True


def _seconds(value: str | float) -> int:
    """Return JavaScript's `Math.floor(new Date(value).getTime() / 1000)`."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return floor(value / 1000)
