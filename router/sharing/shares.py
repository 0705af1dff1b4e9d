"""A number of places of which no holder can have all.

A holder may take another place only while it holds less than a multiple of the free places. So a
single holder gets most of the places, several holders share most of them, and some stay free for
the next holder.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeAlias

Claims: TypeAlias = Mapping[Hashable, float]
"""The holders of a place, each with its multiple: it may hold this many times the free places."""

TENANT = 3.0  # a single tenant can hold three quarters
SERVER = 9.0  # a single server, which several tenants may use, nine tenths
NOBODY: Claims = {}


class Shares:
    """A number of places, given in the order of the requests to those who may have one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[asyncio.Future[None], Claims] = {}

    @property
    def free(self) -> int:
        """How many nobody holds."""
        return self._free

    def take_now(self, claims: Claims, leaving: int = 0) -> "Place | None":
        """Return a place, or None if the holder may not have one now.

        `leaving`: this many places must stay free for others.
        """
        if self._free <= leaving or not self._may(claims):
            return None
        self._grant(claims)
        return Place(self, claims)

    async def take(self, claims: Claims, wait: float | None) -> "Place":
        """Return a place. Raises TimeoutError if none is free within `wait` seconds.

        With None it waits without a limit.
        """
        if (place := self.take_now(claims)) is not None:
            return place
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = claims
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it got a place at this same moment
                self.give_back(claims)
            raise
        finally:
            self._waiting.pop(turn, None)
        return Place(self, claims)

    def _may(self, claims: Claims) -> bool:
        return self._free > 0 and all(
            self._held[holder] < times * self._free for holder, times in claims.items()
        )

    def _grant(self, claims: Claims) -> None:
        self._free -= 1
        self._held.update(claims.keys())

    def give_back(self, claims: Claims) -> None:
        """Free a place that was taken for these claims, and give it to the next allowed waiter."""
        self._free += 1
        for holder in claims:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        for turn, wanted in list(self._waiting.items()):
            if not self._free:
                return
            if not turn.done() and self._may(wanted):
                self._grant(wanted)
                turn.set_result(None)


class Place:
    """One place that is held."""

    def __init__(self, shares: Shares, claims: Claims) -> None:
        self._shares: Shares | None = shares
        self._claims = claims

    def give_back(self) -> None:
        """Free the place; more than once is harmless."""
        shares, self._shares = self._shares, None
        if shares is not None:
            shares.give_back(self._claims)
