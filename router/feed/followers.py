"""The followers of a tenant, and the queue of what each is sent.

A follower that does not read delays no other and costs little memory: when too much waits for it,
the queue is dropped, and the client is told to reconnect and read everything again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from router.feed import events

MOST_WAITING = 40
"""Pieces that may wait for one follower: those of ten seconds, if changes come all the time."""


@dataclass(frozen=True, slots=True)
class Look:
    """Who follows which tenant.

    `claim` is the caller for SQL. `ends_at` is when its token or sign-in expires, in seconds since
    1970; `sign_in` identifies the sign-in of its browser.
    """

    tenant_id: int
    claim: Mapping[str, object]
    ends_at: float | None = None
    sign_in: str | None = None


class Follower:
    """One open stream."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.joined = asyncio.Event()
        """Set when changes were read for the first time since the follower joined."""
        self.is_over = False
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._then: list[Callable[[], None]] = []

    def when_over(self, then: Callable[[], None]) -> None:
        """Call `then` as soon as the stream is over."""
        if self.is_over:
            then()
        else:
            self._then.append(then)

    def tell(self, piece: bytes, position: str) -> None:
        """Queue a piece; `position` is the position after it. Never waits."""
        if self.is_over:
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(piece)
            self._woken.set()
        else:
            self._waiting.clear()
            self.end("too_slow", events.reset(position))

    def end(self, reason: str, before: bytes = b"") -> None:
        """Send what is queued, then the reason why the stream ends."""
        if not self.is_over:
            self._waiting.append(before + events.end(reason))
            self.is_over = True
            self.joined.set()
            self._woken.set()
            for each in self._then:
                each()

    async def told(self) -> AsyncIterator[bytes]:
        """Yield the queued pieces as they come, until the stream is over."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self.is_over:
                return
            self._woken.clear()
            await self._woken.wait()
