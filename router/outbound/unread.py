"""Limits the received but unread bytes over TLS, of all connections together.

Over TLS no server can be made to wait (see `line.py`), so a fast one would fill the memory while
its response is read at a limited pace. Each response has a maximum length; this limits their sum.
"""

from typing import Protocol
from weakref import WeakSet

_MOST = 64 * 1024 * 1024  # bytes: several media at once, or many answers of the longest length
_LITTLE = 1024 * 1024  # bytes; connections with less do not count


class Waiting(Protocol):
    """A connection; it is hashed by identity."""

    @property
    def waits(self) -> int:
        """How many received bytes wait for their reader."""


class Unread:
    """The connections with much unread data, which may have `most` bytes together."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lines: WeakSet[Waiting] = WeakSet()

    def has_room(self, line: Waiting) -> bool:
        """Whether the limit is kept, now that more has arrived on this connection."""
        if line.waits <= _LITTLE:
            return True
        self._lines.add(line)
        waiting = {each: each.waits for each in self._lines}
        for each, waits in waiting.items():
            if waits <= _LITTLE:
                self._lines.discard(each)
        return sum(waiting.values()) <= self._most
