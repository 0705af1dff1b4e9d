"""One place in turns: the next is the one whose last time is longest ago.

So a holder that asks for much waits only for itself, and one that asks now and then is next.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class OneByOne:
    """The place, and those who wait for it."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[asyncio.Future[None], Hashable] = {}
        self._times: dict[Hashable, None] = {}  # who had it, the latest last, while anybody waits

    @asynccontextmanager
    async def taken(self, key: Hashable, wait: float | None = None) -> AsyncIterator[None]:
        """Have the place for the block. Raises TimeoutError after `wait` seconds without it."""
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
            if turn.done() and not turn.cancelled():  # it was handed on in the same moment
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
