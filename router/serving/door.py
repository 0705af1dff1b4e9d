"""Who is connected, from where, and since when nothing came: decides who may stay.

No timer belongs to a connection. Each says until when something must have happened, and one look
around a second closes those that are late: a load of short requests costs no timers.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from typing import Protocol

from router.limits.callers import Callers
from router.logs import Action, log_event
from router.serving.bounds import Bounds

_log = logging.getLogger(__name__)
_BETWEEN_LOOKS = 1.0  # seconds
_BETWEEN_LINES = 10.0  # of the log


class Guest(Protocol):
    """A connection, as the door sees it. `peer` is the address at its other end, as text."""

    @property
    def peer(self) -> str | None:
        """The address at its other end."""

    def look(self, now: float) -> None:
        """Close what is late."""

    def turn_away(self) -> None:
        """Cut the connection at once."""


class Door:
    """The connections of one process."""

    def __init__(self, bounds: Bounds, callers: Callers) -> None:
        self.bounds = bounds
        self._callers = callers
        self._inside: dict[Guest, str | None] = {}
        self._of_block: Counter[str] = Counter()
        self._waiting: OrderedDict[Guest, None] = OrderedDict()
        self._looks: asyncio.TimerHandle | None = None
        self.turned_away = 0
        self._told = 0
        self._tell_at = 0.0

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, guest: Guest) -> bool:
        """Let a connection in, or turn it away: False.

        Where all places are taken the one goes that has been waiting longest for a request to come:
        whoever does nothing keeps nobody out. Connections of trusted proxies, which are many
        callers', are not counted by address.
        """
        block = self._callers.block_of_peer(guest.peer)
        if block is not None and self._of_block[block] >= self.bounds.per_address:
            return self._refuse(guest)
        if len(self._inside) >= self.bounds.connections:
            if not self._waiting:
                return self._refuse(guest)
            longest = next(iter(self._waiting))
            self.leave(longest)
            self._refuse(longest)
        self._inside[guest] = block
        if block is not None:
            self._of_block[block] += 1
        self.waits(guest)
        if self._looks is None:
            self._look_later()
        return True

    def leave(self, guest: Guest) -> None:
        """Give the place back; also of one that never had any."""
        block = self._inside.pop(guest, None)
        self._waiting.pop(guest, None)
        if block is not None:
            self._of_block[block] -= 1
            if not self._of_block[block]:
                del self._of_block[block]

    def waits(self, guest: Guest) -> None:
        """Note that a connection has no whole request: it may have to make room."""
        if guest in self._inside:
            self._waiting[guest] = None

    def works(self, guest: Guest) -> None:
        """Note that a connection has a request that is being answered: it stays."""
        self._waiting.pop(guest, None)

    def look_around(self, now: float) -> None:
        """Have every connection look whether it is late."""
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
