"""How much one holder may have under way at once, of anything that is counted by a key."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TooManyAtOnce(Exception):
    """The key already has the most under way; nothing was begun."""


class AtOnce:
    """Counts what is under way, key by key."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._under_way: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, key: Hashable) -> Iterator[None]:
        """Count one more for the block. Raises TooManyAtOnce."""
        if self._under_way[key] >= self.most:
            raise TooManyAtOnce(f"{self.most} are under way")
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]


class InTurn:
    """Lets so many of each key run at once; later ones wait, first come first served."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._there: Counter[Hashable] = Counter()
        self._gates: dict[Hashable, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, key: Hashable, wait: float) -> AsyncIterator[None]:
        """Be one of them for the block. Raises TooManyAtOnce after `wait` seconds without."""
        gate = self._gates.setdefault(key, asyncio.Semaphore(self.most))
        self._there[key] += 1
        try:
            try:
                async with asyncio.timeout(wait):
                    await gate.acquire()
            except TimeoutError as error:
                raise TooManyAtOnce(f"{self.most} are under way") from error
            try:
                yield
            finally:
                gate.release()
        finally:
            self._there[key] -= 1
            if not self._there[key]:
                del self._there[key], self._gates[key]


class Shared(Generic[T]):
    """Does once what is the same for all: those who ask meanwhile get the same result.

    It is done again at the earliest `pause` seconds after its end; those who ask before that wait,
    and never get a result from before they asked.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], pause: float = 0.0) -> None:
        self._work = work
        self._pause = pause
        self._again_at = -math.inf
        self._working: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the result; a caller that leaves does not stop it. Raises what it raises."""
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._do(), name="for all who ask")
        return await asyncio.shield(self._working)

    async def _do(self) -> T:
        clock = asyncio.get_running_loop().time
        if (wait := self._again_at - clock()) > 0:
            await asyncio.sleep(wait)
        try:
            return await self._work()
        finally:
            self._again_at = clock() + self._pause
