"""Places for sends: how many messages may be on their way to Evolution at once.

A place is taken before the fence is asked, and is waited for only briefly. The pool of the sends
has at least as many connections as there are places, so that nothing waits between the fence and
the send: in that time a human could write.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_WAIT = 2.0


class NoPlace(Exception):
    """So many sends are under way that none of their places became free in time.

    Nothing was begun: no fence was asked and nothing was sent, so trying again soon is harmless.
    It says nothing of Evolution, and is none of its errors.
    """


class SendPlaces:
    """A number of places, given in the order in which they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken(self, wait: float = _WAIT) -> AsyncIterator[None]:
        """Hold a place for the block. Raises NoPlace when none is free within `wait` seconds."""
        try:
            async with asyncio.timeout(wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoPlace(f"{self.count} sends are under way; no place became free") from error
        try:
            yield
        finally:
            self._free.release()
