"""A number of places that nobody can hold all of: a large holder leaves room for the next.

A holder may take another place only while it holds less than a multiple of what is free. So a lone
holder gets most of the places, several share most of them, and some stay free for the next one.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeAlias

Claims: TypeAlias = Mapping[Hashable, float]
"""For whom a place is taken: each holder, with how many times the free places it may hold."""

TENANT = 3.0  # alone a tenant holds three quarters
SERVER = 9.0  # and one server, that several tenants may have, nine tenths
NOBODY: Claims = {}


class Shares:
    """So many places, given in the order in which they are asked for, to whom may have one."""

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
        """Return a place, or None where the holder may not have one now.

        So many are left `leaving` for others.
        """
        if self._free <= leaving or not self._may(claims):
            return None
        self._grant(claims)
        return Place(self, claims)

    async def take(self, claims: Claims, wait: float | None) -> "Place":
        """Return a place. Raises TimeoutError if none is free within `wait` seconds.

        With None it waits as long as it takes.
        """
        if (place := self.take_now(claims)) is not None:
            return place
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = claims
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was given in the same moment
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
