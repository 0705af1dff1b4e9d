"""The connections of a process, and which of them may stay.

Connections have no timers. Each knows until when something must have happened, and one look a
second closes those that are late. That way, a load of short requests costs no timers.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from router.http.callers import Callers
from router.logs.events import Action, log_event
from router.serving.bounds import Bounds

_log = logging.getLogger(__name__)
_BETWEEN_LOOKS = 1.0  # seconds
_BETWEEN_LINES = 10.0  # between two lines of the log


class Guest(Protocol):
    """A connection, as the door sees it. `peer` is the client's address, as text."""

    @property
    def peer(self) -> str | None:
        """The address at its other end."""

    def look(self, now: float) -> None:
        """Close the connection if it is late."""

    def turn_away(self) -> None:
        """Cut the connection at once."""


_SILENT, _RESTING, _STALLED, _ARRIVING = range(4)
_NEWCOMERS = 4  # a quarter of the places is for new connections


class _Idle:
    """Connections that can be closed to make room: by kind, the longest idle first."""

    def __init__(self, places: int) -> None:
        self._newcomers = places // _NEWCOMERS
        self._kinds: tuple[OrderedDict[Guest, None], ...] = tuple(OrderedDict() for _ in range(4))

    def note(self, guest: Guest, kind: int) -> None:
        self.forget(guest)
        self._kinds[kind][guest] = None

    def forget(self, guest: Guest) -> None:
        for kind in self._kinds:
            kind.pop(guest, None)

    def first_to_go(self) -> Guest | None:
        silent, resting, stalled, arriving = self._kinds
        order = (resting, stalled, arriving, silent)
        if len(silent) > self._newcomers:
            order = (silent, resting, stalled, arriving)
        return next((guest for kind in order for guest in kind), None)


class Door:
    """The connections of one process.

    When places are short, idle connections are closed: first those that never sent a whole request
    head, then those that rest after a request, then those that read nothing of their response, then
    those whose body has not arrived. Within each kind, the longest idle is closed first. But a
    quarter of the places is for new connections, so that each has time to send its request. A
    connection whose request has arrived stays, however many others come that send none.
    """

    def __init__(self, bounds: Bounds, callers: Callers) -> None:
        self.bounds = bounds
        self._callers = callers
        self._inside: dict[Guest, str | None] = {}
        self._of_block: dict[str, int] = {}
        self._idle = _Idle(bounds.connections)
        self._idle_of_block: dict[str, _Idle] = {}
        self._looks: asyncio.TimerHandle | None = None
        self.turned_away = 0
        self._told = 0
        self._tell_at = 0.0

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, guest: Guest) -> bool:
        """Let a connection in, and return True; or turn it away, and return False.

        If its address has all its places, another connection of the same address makes room; if all
        places are taken, any connection does. Connections of trusted proxies carry many callers, so
        they are not counted by address.
        """
        block = self._callers.block_of_peer(guest.peer)
        if block is not None and self._of_block.get(block, 0) >= self.bounds.per_address:
            has_room = self._make_room(self._idle_of_block[block])
        elif len(self._inside) >= self.bounds.connections:
            has_room = self._make_room(self._idle)
        else:
            has_room = True
        if not has_room:
            return self._refuse(guest)
        self._inside[guest] = block
        if block is not None:
            self._of_block[block] = self._of_block.get(block, 0) + 1
            self._idle_of_block.setdefault(block, _Idle(self.bounds.per_address))
        self._note(guest, _SILENT)
        if self._looks is None:
            self._look_later()
        return True

    def leave(self, guest: Guest) -> None:
        """Give the connection's place back; harmless if it never had one."""
        self.works(guest)
        block = self._inside.pop(guest, None)
        if block is not None:
            self._of_block[block] -= 1
            if not self._of_block[block]:
                del self._of_block[block], self._idle_of_block[block]

    def rests(self, guest: Guest) -> None:
        """Note that a connection has its answer, and has sent no other request."""
        self._note(guest, _RESTING)

    def stalls(self, guest: Guest) -> None:
        """Note that a connection reads nothing of its answer."""
        self._note(guest, _STALLED)

    def arrives(self, guest: Guest) -> None:
        """Note that a connection has a request whose body has not arrived whole."""
        self._note(guest, _ARRIVING)

    def works(self, guest: Guest) -> None:
        """Note that a request of the connection is being answered: the connection stays."""
        for idle in self._idle_with(guest):
            idle.forget(guest)

    def _note(self, guest: Guest, kind: int) -> None:
        for idle in self._idle_with(guest):
            idle.note(guest, kind)

    def _idle_with(self, guest: Guest) -> Iterator[_Idle]:
        if guest in self._inside:
            yield self._idle
            if (block := self._inside[guest]) is not None:
                yield self._idle_of_block[block]

    def _make_room(self, idle: _Idle) -> bool:
        guest = idle.first_to_go()
        if guest is not None:
            self.leave(guest)
            self._refuse(guest)
        return guest is not None

    def look_around(self, now: float) -> None:
        """Have every connection check whether it is late."""
        for guest in tuple(self._inside):
            guest.look(now)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._looks = loop.call_later(_BETWEEN_LOOKS, self._look)

    def _look(self) -> None:
        self._looks = None
        now = asyncio.get_running_loop().time()
        self.look_around(now)
        self._tell(now)
        if self._inside:
            self._look_later()

    def _tell(self, now: float) -> None:
        count = self.turned_away - self._told
        if not count or now < self._tell_at:
            return
        self._told, self._tell_at = self.turned_away, now + _BETWEEN_LINES
        log_event(
            _log,
            Action.CONNECTIONS_REFUSED,
            f"{count} connections were closed: too many of an address or in all, or their requests"
            " were too long or none",
            level=logging.WARNING,
            count=count,
        )

    def _refuse(self, guest: Guest) -> bool:
        self.turned_away += 1
        guest.turn_away()
        return False
