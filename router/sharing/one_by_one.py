"""One place that holders get in turns: next is the holder whose last turn is longest ago.

A holder that asks often waits only for itself. One that asks rarely is served next.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class OneByOne:
    """The place, and the holders that wait for it."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[asyncio.Future[None], Hashable] = {}
        self._times: dict[Hashable, None] = {}  # the latest last; cleared if nobody waits

    @asynccontextmanager
    async def taken(self, key: Hashable, wait: float | None = None) -> AsyncIterator[None]:
        """Hold the place for the block. Raises TimeoutError if `wait` seconds were not enough."""
        if self._is_taken:
            await self._in_turn(key, wait)
        self._is_taken = True
        self._times.pop(key, None)
        self._times[key] = None
        try:
            yield
        finally:
            self._hand_on()

    async def _in_turn(self, key: Hashable, wait: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = key
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it got the place at this same moment
                self._hand_on()
            raise
        finally:
            self._waiting.pop(turn, None)

    def _hand_on(self) -> None:
        last = {key: number for number, key in enumerate(self._times)}
        waiting = {turn: key for turn, key in self._waiting.items() if not turn.done()}
        turn = min(waiting, key=lambda each: last.get(waiting[each], -1), default=None)
        if turn is None:
            self._is_taken = False
            self._times.clear()
        else:
            turn.set_result(None)
