"""Threads for long work, one piece per tenant at a time.

Removing the Markdown from a flow's long text, hashing a video, or searching a reply for a tenant's
patterns may take long. There are two threads for each kind of work, and no tenant gets both: a
tenant that asks for much waits only for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from router.sharing.shares import Claims, Shares

_T = TypeVar("_T")
_COUNT = 2
_ONE = 1.0  # times what is free: one of the two
_PATIENCE = 10.0  # seconds that a request waits for its tenant's others
_THREADS = ThreadPoolExecutor(_COUNT, "a flow's request")  # nobody else's work waits behind them


class Bench:
    """One thread for a tenant, as long as another tenant may want the other.

    `threads` has two, for one kind of work only.
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
        """Return what `work` returns, in a thread; after a wait, `after_waiting` runs first.

        Raises TimeoutError if no thread was free in time, and what `after_waiting` and `work`
        raise. Work that nobody waits for any more keeps its place to its end.
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
