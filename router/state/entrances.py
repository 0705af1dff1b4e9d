"""Shares of the database's connections: no kind of work can slow down the others.

Each kind of work has places reserved for it, and may take some of the other places. API calls with
tenants' keys get few places, however long they take, so webhooks, claims and sends never wait for
them. Within each kind, one holder (a tenant) gets only a part of the places, and the holder with
the fewest is served next.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from router.errors import DatabaseBusy
from router.state.database import Connected, Database, Json

_holder: ContextVar[Hashable] = ContextVar("for whom the state is called", default=None)


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a kind of work in ten connections.

    `kept` places are reserved for it, it may have `most`, and one holder may have `of_one`. A call
    waits `patience` seconds for a place.
    """

    kept: int
    most: int
    of_one: int
    patience: float = 5.0


class Work(Enum):
    """The kind of work that a call belongs to."""

    WEBHOOKS = "webhooks"  # events from Evolution, and reading the tenants' access
    TURNS = "turns"  # claims, sends, notices, and flows' requests
    UPKEEP = "upkeep"  # cron, the health check, and background loops
    REPAIRS = "gap repair"
    LOOK_UPS = "keys and tokens that are looked up"
    DEPLOYMENT = "calls with a key of the deployment"
    TENANTS = "calls of tenants"
    FEED = "changes for followers"


SHARES: Mapping[Work, Share] = MappingProxyType(
    {
        Work.WEBHOOKS: Share(kept=1, most=4, of_one=4),
        Work.TURNS: Share(kept=2, most=10, of_one=4, patience=10.0),
        Work.UPKEEP: Share(kept=1, most=2, of_one=2),
        Work.REPAIRS: Share(kept=0, most=2, of_one=2, patience=15.0),
        Work.LOOK_UPS: Share(kept=1, most=2, of_one=2),
        Work.DEPLOYMENT: Share(kept=1, most=3, of_one=3),
        Work.TENANTS: Share(kept=0, most=3, of_one=2),
        Work.FEED: Share(kept=0, most=1, of_one=1),
    }
)
_CHANGES_NOTHING = (Work.LOOK_UPS, Work.FEED)
LEAST = 10
"""The smallest number of connections with which every kind of work has its share."""


@contextmanager
def on_behalf_of(holder: Hashable) -> Iterator[None]:
    """Count the calls of the block for this holder; None: for no holder."""
    token = _holder.set(holder)
    try:
        yield
    finally:
        _holder.reset(token)


def acts_for() -> str | None:
    """Return the holder for whom the current work is done, if one was named."""
    holder = _holder.get()
    return holder if isinstance(holder, str) else None


def _nobody_asks() -> None:
    """The default: nothing happens after a call."""


Wanted = tuple[Work, Hashable]
"""A requested place: for which kind of work, and for which holder."""


class Places:
    """The connections, as places that calls take."""

    def __init__(self, count: int) -> None:
        if count < LEAST:
            raise ValueError(f"at least {LEAST} connections are needed, not {count}")
        self._free = count
        self._shares = {work: _scaled(share, count) for work, share in SHARES.items()}
        self._held: Counter[Work] = Counter()
        self._kept_free = sum(share.kept for share in self._shares.values())
        self._by_holder: Counter[Wanted] = Counter()
        self._waiting: dict[asyncio.Future[None], Wanted] = {}
        self.after_call: Callable[[], None] = _nobody_asks

    async def take(self, work: Work) -> Wanted:
        """Take a place, which must be given back. Raises DatabaseBusy if none is free in time."""
        wanted = (work, _holder.get())
        if self._may(wanted):
            self._grant(wanted)
        else:
            await self._wait_for(wanted)
        return wanted

    async def _wait_for(self, wanted: Wanted) -> None:
        patience = self._shares[wanted[0]].patience
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = wanted
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it got a place at this same moment
                self.give_back(wanted)
            if isinstance(error, TimeoutError):
                what = f"{wanted[0].value}: no connection to the database became free"
                raise DatabaseBusy(f"{what} in {patience:.0f} s: try again soon") from error
            raise
        finally:
            self._waiting.pop(turn, None)

    def _may(self, wanted: Wanted) -> bool:
        work, holder = wanted
        share = self._shares[work]
        if not self._free or self._held[work] >= share.most:
            return False
        if holder is not None and self._by_holder[wanted] >= share.of_one:
            return False
        # Places that are reserved for one kind of work are never free for others, even while
        # unused.
        kept = share.kept - self._held[work]
        return kept > 0 or self._free > self._kept_free

    def _grant(self, wanted: Wanted) -> None:
        work = wanted[0]
        self._free -= 1
        self._kept_free -= self._held[work] < self._shares[work].kept
        self._held[work] += 1
        self._by_holder[wanted] += 1

    def give_back(self, wanted: Wanted) -> None:
        """Free a place, and give it to a call that waits for it."""
        work = wanted[0]
        self._free += 1
        self._held[work] -= 1
        self._kept_free += self._held[work] < self._shares[work].kept
        self._by_holder[wanted] -= 1
        if not self._by_holder[wanted]:
            del self._by_holder[wanted]
        while self._waiting and (turn := self._next()) is not None:
            self._grant(self._waiting.pop(turn))
            turn.set_result(None)

    def _next(self) -> "asyncio.Future[None] | None":
        """Return the next call to get a place: the first of the holder with the fewest places."""
        able = (
            (self._by_holder[wanted] if wanted[1] is not None else 0, place, turn)
            for place, (turn, wanted) in enumerate(self._waiting.items())
            if not turn.done() and self._may(wanted)
        )
        best = min(able, key=lambda each: each[:2], default=None)
        return None if best is None else best[2]


@dataclass(frozen=True, slots=True)
class Entrance:
    """A `Database` for one kind of work. A call waits for its place, and may raise DatabaseBusy."""

    database: Database
    places: Places
    work: Work

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`."""
        place = await self.places.take(self.work)
        try:
            answer = await self.database.call(function, argument)
        finally:
            self.places.give_back(place)
        if self.work not in _CHANGES_NOTHING:
            self.places.after_call()
        return answer


class Entrances:
    """The entrances to the state, one for each kind of work."""

    def __init__(self, database: Connected) -> None:
        places = Places(database.connections)
        self.webhooks = Entrance(database, places, Work.WEBHOOKS)
        self.turns = Entrance(database, places, Work.TURNS)
        self.upkeep = Entrance(database, places, Work.UPKEEP)
        self.repairs = Entrance(database, places, Work.REPAIRS)
        self.look_ups = Entrance(database, places, Work.LOOK_UPS)
        self.deployment = Entrance(database, places, Work.DEPLOYMENT)
        self.tenants = Entrance(database, places, Work.TENANTS)
        self.feed = Entrance(database, places, Work.FEED)
        self._places = places

    def tell_of_calls(self, called: Callable[[], None]) -> None:
        """Call this function after each call that may have changed something."""
        self._places.after_call = called


def _scaled(share: Share, count: int) -> Share:
    return Share(
        share.kept * count // LEAST,
        share.most * count // LEAST,
        share.of_one * count // LEAST,
        share.patience,
    )
