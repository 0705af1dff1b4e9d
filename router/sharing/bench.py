"""Threads for long work; each tenant has one piece at a time.

It may take long to remove the Markdown from a flow's long text, to hash a video, or to search a
reply for a tenant's patterns. Each kind of work has two threads, and no tenant gets both: a tenant
with much work waits only for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from router.sharing.shares import Claims, Shares

_T = TypeVar("_T")
_COUNT = 2
_ONE = 1.0  # times what is free: that is one of the two
_PATIENCE = 10.0  # seconds that a request waits for others of its tenant
_THREADS = ThreadPoolExecutor(_COUNT, "a flow's request")  # no other work waits behind it


class Bench:
    """Gives a tenant one thread at a time, so that the other one is left for other tenants.

    `threads` has two threads, for one kind of work only.
    """

    def __init__(self, patience: float = _PATIENCE, threads: ThreadPoolExecutor = _THREADS) -> None:
        self._patience = patience
        self._threads = threads
        self._places = Shares(_COUNT)

    async def do(
        self,
        tenant_id: int,
        work: Callable[[], _T],
        *,
        after_waiting: Callable[[], Awaitable[None]],
    ) -> _T:
        """Run `work` in a thread and return its result; after a wait, call `after_waiting` first.

        Raises TimeoutError if no thread was free in time, and the errors of `after_waiting` and
        `work`. Work whose caller has left keeps its thread until it ends.
        """
        claims: Claims = {tenant_id: _ONE}
        place = self._places.take_now(claims)
        if place is None:
            place = await self._places.take(claims, self._patience)
            try:
                await after_waiting()
            except BaseException:
                place.give_back()
                raise
        loop = asyncio.get_running_loop()
        at_work = loop.run_in_executor(self._threads, work)
        at_work.add_done_callback(lambda _: place.give_back())
        return await asyncio.shield(at_work)
