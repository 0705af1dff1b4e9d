"""The bytes that have come over TLS and wait to be read, of all connections together.

Over TLS no server can be made to wait (see `line.py`), so a fast one fills the memory while its
response is read at a limited pace. Each response has a maximum length; this limits their sum.
"""

from typing import Protocol
from weakref import WeakSet

_MOST = 64 * 1024 * 1024  # bytes: several media at once, or many answers of the longest length
_LITTLE = 1024 * 1024  # bytes of one connection that do not count


class Waiting(Protocol):
    """A connection, hashed by its identity."""

    @property
    def waits(self) -> int:
        """How many bytes have come and wait for their reader."""


class Unread:
    """Connections with much unread data; together at most `most` bytes."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lines: WeakSet[Waiting] = WeakSet()

    def has_room(self, line: Waiting) -> bool:
        """Whether all that waits may wait, now that more has come for this connection."""
        if line.waits <= _LITTLE:
            return True
        self._lines.add(line)
        waiting = {each: each.waits for each in self._lines}
        for each, waits in waiting.items():
            if waits <= _LITTLE:
                self._lines.discard(each)
        return sum(waiting.values()) <= self._most
