"""How much one holder may have under way at once; holders are told apart by a key."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TooManyAtOnce(Exception):
    """The key has its maximum under way already; nothing was begun."""


class AtOnce:
    """Counts what is under way, by key."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._under_way: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, key: Hashable) -> Iterator[None]:
        """Count one more for this key during the block. Raises TooManyAtOnce."""
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
    """Lets a fixed number run at once for each key; later ones wait in their order."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._there: Counter[Hashable] = Counter()
        self._gates: dict[Hashable, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, key: Hashable, wait: float) -> AsyncIterator[None]:
        """Be one of them during the block. Raises TooManyAtOnce if that takes `wait` seconds."""
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
    """Does one piece of work for all callers: those who ask in the meantime share its result.

    The next run begins `pause` seconds after the end of the last one at the earliest. Callers that
    come during the pause wait for it; they never get the earlier result.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], pause: float = 0.0) -> None:
        self._work = work
        self._pause = pause
        self._again_at = -math.inf
        self._working: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the work's result, or raise its error. A caller that leaves does not stop it."""
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
