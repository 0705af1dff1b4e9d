"""A few places, and a queue (lane) for each key. The lanes take turns.

However many calls wait in one lane, a call at the front of another lane waits for at most one from
each lane. The queues are bounded: each lane has a maximum, and if there are too many calls in all,
the last one of the longest lane is refused.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.sharing.at_once import TooManyAtOnce


class Lanes:
    """`at_once` places, of which one lane gets at most `of_one`; queues with maximum lengths."""

    def __init__(
        self, at_once: int = 4, of_one: int = 2, *, waiting_of_one: int = 500, waiting: int = 2000
    ) -> None:
        self._free = at_once
        self._of_one = of_one
        self._waiting_of_one = waiting_of_one
        self._most_waiting = waiting
        self._at_work: Counter[str] = Counter()
        self._lanes: dict[str, deque[asyncio.Future[None]]] = {}  # the next one to be served first
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, lane: str, wait: float) -> AsyncIterator[None]:
        """Hold a place for the block. Raises TooManyAtOnce, after `wait` seconds at the latest."""
        await self._enter(lane, wait)
        try:
            yield
        finally:
            self._leave(lane)

    async def _enter(self, lane: str, wait: float) -> None:
        if self._free > 0 and self._at_work[lane] < self._of_one:  # so nobody waits in this lane
            self._grant(lane)
            return
        turn = self._queue_up(lane)
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave(lane)  # it got a place at this same moment
            elif turn in self._lanes.get(lane, ()):
                self._take_out(lane, turn)
            if isinstance(error, TimeoutError):
                raise TooManyAtOnce(f"nothing was free in {wait} s") from error
            raise

    def _queue_up(self, lane: str) -> asyncio.Future[None]:
        if len(self._lanes.get(lane, ())) >= self._waiting_of_one:
            raise TooManyAtOnce(f"{self._waiting_of_one} wait already")
        if self._waiting >= self._most_waiting:
            longest = max(self._lanes, key=lambda each: len(self._lanes[each]))
            if len(self._lanes[longest]) <= len(self._lanes.get(lane, ())) + 1:
                raise TooManyAtOnce(f"{self._waiting} wait already")
            last = self._lanes[longest][-1]
            self._take_out(longest, last)
            if not last.done():
                last.set_exception(TooManyAtOnce("others wait who have asked for less"))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(lane, deque()).append(turn)
        self._waiting += 1
        return turn

    def _take_out(self, lane: str, turn: asyncio.Future[None]) -> None:
        self._lanes[lane].remove(turn)
        self._waiting -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]

    def _grant(self, lane: str) -> None:
        self._free -= 1
        self._at_work[lane] += 1

    def _leave(self, lane: str) -> None:
        self._free += 1
        self._at_work[lane] -= 1
        if not self._at_work[lane]:
            del self._at_work[lane]
        self._admit()

    def _admit(self) -> None:
        """Give free places to the lanes that may have one, in their order, one each."""
        while self._free > 0:
            lane = next((each for each in self._lanes if self._at_work[each] < self._of_one), None)
            if lane is None:
                return
            turn = self._lanes[lane][0]
            self._take_out(lane, turn)
            if lane in self._lanes:
                self._lanes[lane] = self._lanes.pop(lane)  # to the end: others are next
            if not turn.done():
                self._grant(lane)
                turn.set_result(None)
