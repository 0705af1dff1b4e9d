"""Seats: a turn needs one while its reply is made, and stands while its tenant's server is asked.

The deployment's own work for a turn (the state, the LLM) takes a bounded time. A tenant's own
server may take until the turn's deadline, so a turn that waits for it gives its seat to others:
replies are made even while some servers hang. The number of standing turns is limited by tenant and
by server. If a tenant has no room to stand, its turn is put off. Only if others have taken all the
room, one turn of each server keeps its seat. A seat also knows how far its reply is: see
`flow_places`.
"""

import asyncio
import math
from collections.abc import Callable

from router.sharing.places import NoPlace
from router.sharing.shares import NOBODY, Claims, Place, Shares

_STANDING = 5  # turns may stand for each seat
_TENANT = 0.25  # times the free room: one tenant alone gets a fifth of all
_SERVER = 1.0  # times the free room: one server, which many tenants may share, gets half
_WAIT = 2.0  # seconds to wait for room; not if other turns of the server have waited that long


class Seats:
    """The seats of one process. One tenant alone may have `share` of them (1: all).

    A turn waits `wait` seconds for room to stand. `has_free` is called when a seat becomes free and
    a turn may be waiting for it, `answered` when a flow in n8n has made a reply. The time is
    `clock`'s, or the event loop's.
    """

    def __init__(
        self,
        count: int,
        share: float = 1.0,
        *,
        wait: float = _WAIT,
        has_free: Callable[[], None] = lambda: None,
        answered: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.count = count
        self._is_shared = share < 1
        self.times = share / (1 - share) if self._is_shared else math.inf
        self._few = count * (1 - share)
        self._wait = wait
        self._has_free = has_free
        self.answered = answered
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._sitting = Shares(count)
        self._standing = Shares(count * _STANDING)
        self._since: dict[str, dict[Seat, float]] = {}

    @property
    def free(self) -> int:
        """The number of free seats."""
        return self._sitting.free

    def seat(self, tenant_id: int, server: str) -> "Seat":
        """Return an attempt's seat. It is taken now if that is possible; see `Seat.sit`."""
        return Seat(self, tenant_id, server)

    def sit_now(self, tenant_id: int) -> Place | None:
        """Return a place to sit, or None if the tenant may have none now."""
        return self._sitting.take_now({tenant_id: self.times})

    async def sit(self, tenant_id: int) -> Place:
        """Return a place to sit; wait for it without a limit."""
        return await self._sitting.take({tenant_id: self.times}, None)

    def room_now(self, seat: "Seat") -> Place | None:
        """Return a place to stand, or None if there is none now."""
        room = self._standing.take_now(self._claims(seat))
        if room is not None:
            self._asks(seat)
        return room

    async def room(self, seat: "Seat") -> Place | None:
        """Return a place to stand, or None if none is free and no turn asks this server yet.

        Raises TimeoutError if no place becomes free soon.
        """
        room = self.room_now(seat)
        if room is None and self._is_shared and seat.server in self._since:
            wait = 0.0 if self._is_stuck(seat.server) else self._wait
            room = await self._standing.take(self._claims(seat), wait)
        self._asks(seat)
        return room

    def _claims(self, seat: "Seat") -> Claims:
        if not self._is_shared:
            return NOBODY
        return {seat.tenant_id: _TENANT, ("server", seat.server): _SERVER}

    def _asks(self, seat: "Seat") -> None:
        self._since.setdefault(seat.server, {}).setdefault(seat, self._clock())

    def asks_no_more(self, seat: "Seat") -> None:
        """Forget since when this server has been asked."""
        asking = self._since.get(seat.server, {})
        asking.pop(seat, None)
        if not asking:
            self._since.pop(seat.server, None)

    def left(self) -> None:
        """Report that a seat was given back, if so few were free that a turn may be waiting."""
        if self.free - 1 <= self._few:
            self._has_free()

    def _is_stuck(self, server: str) -> bool:
        oldest = next(iter(self._since.get(server, {}).values()), math.inf)
        return self._clock() - oldest > self._wait


class Seat:
    """One attempt's seat: it sits while its reply is made, stands while it waits for a server.

    `server` is the address of the tenant's Evolution. `needs_no_flow` means that no flow makes the
    reply, or none does any more.
    """

    def __init__(self, seats: Seats, tenant_id: int, server: str) -> None:
        self.tenant_id = tenant_id
        self.server = server.partition("://")[2].partition("/")[0].lower() or server
        self.needs_no_flow = False
        self._seats = seats
        self._place = seats.sit_now(tenant_id)
        self._room: Place | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the attempt sits."""
        return self._place is not None

    async def sit(self) -> None:
        """Wait for a seat for the tenant, and sit. Nothing happens if the attempt already sits."""
        if self._place is None:
            self._place = await self._seats.sit(self.tenant_id)
        self._give_up_room()

    def flow_has_answered(self) -> None:
        """Note that n8n is done: its next turn need not wait until this reply is sent."""
        self.needs_no_flow = True
        self._seats.answered()

    def stand_now(self) -> None:
        """Stand if there is room at once; otherwise keep the seat."""
        if self._room is None and (room := self._seats.room_now(self)) is not None:
            self._room = room
            self._leave()

    async def stand(self) -> None:
        """Stand, and leave the seat to others, unless others have all the room.

        Raises NoPlace if its tenant or its server has too much of the room. Like a send without a
        place, nothing has begun then.
        """
        if self._room is not None:
            return
        try:
            self._room = await self._seats.room(self)
        except TimeoutError as error:
            raise NoPlace("too many turns wait for the same server already") from error
        if self._room is not None:
            self._leave()

    def end(self) -> None:
        """Give back the seat or the room."""
        self._give_up_room()
        self._leave()

    def _give_up_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.give_back()
        self._seats.asks_no_more(self)

    def _leave(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.give_back()
            self._seats.left()
