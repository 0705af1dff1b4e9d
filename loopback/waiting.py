"""Waits for events in a loopback program. The event itself ends the wait: nothing polls."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 120.0
"""Seconds until a wait fails; long, because machines may be busy."""


class NeverHappened(AssertionError):
    """The awaited event did not happen before the deadline. The text says what happened."""


class Changes:
    """The changes in one program, for everyone who waits, in any thread or event loop.

    The program's state is read and changed under `lock`. `story` says what has happened so far, for
    the error of a wait that fails.
    """

    def __init__(self, story: Callable[[], str] = lambda: "") -> None:
        self.lock = threading.RLock()
        self._happened = threading.Condition(self.lock)
        self._listeners: set[Callable[[], None]] = set()
        self._story = story

    @contextmanager
    def made(self) -> Iterator[None]:
        """Change the state during the block; all waiters look again afterwards."""
        with self.lock:
            yield
            self._happened.notify_all()
            listeners = tuple(self._listeners)
        for wake in listeners:
            wake()

    async def until(self, found: Callable[[], T], what: str, *, within: float = DEADLINE) -> T:
        """Wait until `found()` is truthy, and return it. Raises NeverHappened after `within` s."""
        loop = asyncio.get_running_loop()
        happened = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(happened.set)
            except RuntimeError:  # that loop is closed, so nothing waits in it
                self._listeners.discard(wake)

        with self.lock:
            self._listeners.add(wake)
        try:
            async with asyncio.timeout(within):
                while not (value := self._look(found)):
                    await happened.wait()
                    happened.clear()
                return value
        except TimeoutError:
            raise self._never(what, within) from None
        finally:
            with self.lock:
                self._listeners.discard(wake)

    def block_until(self, found: Callable[[], T], what: str, *, within: float = DEADLINE) -> T:
        """Like `until`, for callers without an event loop; the calling thread blocks."""
        deadline = time.monotonic() + within
        with self.lock:
            while not (value := found()):
                if not self._happened.wait(deadline - time.monotonic()):
                    raise self._never(what, within)
            return value

    def _look(self, found: Callable[[], T]) -> T:
        with self.lock:
            return found()

    def _never(self, what: str, within: float) -> NeverHappened:
        with self.lock:
            story = self._story()
        return NeverHappened(f"waited {within:g} s in vain for: {what}\n{story}".rstrip())


class Gate:
    """Holds calls at one point until it is opened, so that a test can act meanwhile."""

    def __init__(self, changes: Changes, where: str) -> None:
        self._changes = changes
        self._where = where
        self._arrived = 0
        self._open = False

    @property
    def arrived(self) -> int:
        """How many calls have come to the gate."""
        return self._arrived

    async def reached(self, calls: int = 1) -> None:
        """Wait until this many calls have come to the gate."""
        await self._changes.until(lambda: self._arrived >= calls, self._expected(calls))

    def block_until_reached(self, calls: int = 1) -> None:
        """Like `reached`, for callers without an event loop."""
        self._changes.block_until(lambda: self._arrived >= calls, self._expected(calls))

    def open(self) -> None:
        """Let the held calls go on, and later ones pass."""
        with self._changes.made():
            self._open = True

    async def pass_through(self) -> None:
        """Wait here, as a held call, until the gate is opened."""
        with self._changes.made():
            self._arrived += 1
        await self._changes.until(lambda: self._open, f"{self._where} to be opened", within=600)

    def _expected(self, calls: int) -> str:
        return f"{calls} call(s) at {self._where}"
