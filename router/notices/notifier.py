"""Claims due notices and has each told, several at a time.

Like the dispatcher of turns it sleeps until the earliest due notice that it knows of, and looks by
itself every few seconds for what other processes have made.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from router.errors import DatabaseFault
from router.notices.delivery import Delivery
from router.running.loops import Loop, log_unexpected
from router.running.stopping import STOP_GRACE, end_tasks
from router.sharing.shares import TENANT
from router.state.calls.model import NotRead
from router.state.calls.notices import ClaimedNotice, ClaimNotices, claim_notices
from router.state.database import Database

_LOCKED_ELSEWHERE = 0.2  # seconds until a notice that another process looks at is tried again


@dataclass(frozen=True, slots=True)
class NoticeLimits:
    """How notices are claimed; times in seconds."""

    parallel: int
    lease: float
    max_attempts: int
    poll: float


class Notifier:
    """The loop between the state and the deliveries."""

    def __init__(
        self,
        database: Database,
        limits: NoticeLimits,
        begin: Callable[[ClaimedNotice], Delivery],
    ) -> None:
        self._database = database
        self._limits = limits
        self._begin = begin
        self._running: dict[asyncio.Task[None], Delivery] = {}
        self._after_tenant = 0
        self._loop = Loop(self._claim, pause=limits.poll, failed="notices could not be claimed")

    def wake(self) -> None:
        """There may be a notice to claim."""
        self._loop.wake()

    async def run(self) -> None:
        """Claim and tell until `stop`."""
        await self._loop.run()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Claim nothing more; a message that is leaving has `grace` seconds to end."""
        self._loop.stop()
        for task, delivery in list(self._running.items()):
            if delivery.stop():
                task.cancel()
        await end_tasks(self._running, grace)

    async def _claim(self) -> float:
        """Claim what is due and begin to tell it. Returns the seconds until the next look."""
        free = self._limits.parallel - len(self._running)
        if free <= 0:
            return self._limits.poll  # the end of a delivery wakes us
        asked = ClaimNotices(
            limit=free,
            lease_seconds=self._limits.lease,
            max_attempts=self._limits.max_attempts,
            after_tenant=self._after_tenant,
            # A tenant whose webhook hangs is being told as long as it does.
            own=Counter(str(each.tenant_id) for each in self._running.values()),
            own_times=TENANT,
        )
        claimed = await claim_notices(self._database, asked)
        self._after_tenant = claimed.after_tenant
        for notice in claimed.notices:
            if isinstance(notice, NotRead):
                _log_untold(notice.name, DatabaseFault(notice.fault))
                continue
            try:
                self._start(notice)
            except Exception as error:  # noqa: BLE001 - the others were claimed as well
                _log_untold(notice.notice_id, error)
        if claimed.more and len(self._running) < self._limits.parallel:
            return 0.0 if claimed.notices else _LOCKED_ELSEWHERE
        if claimed.next_due_at is None:
            return self._limits.poll
        wait = (claimed.next_due_at - claimed.now).total_seconds()
        return min(max(wait, _LOCKED_ELSEWHERE), self._limits.poll)

    def _start(self, notice: ClaimedNotice) -> None:
        delivery = self._begin(notice)
        task = asyncio.create_task(delivery.run(), name=f"notice {notice.notice_id}")
        self._running[task] = delivery
        task.add_done_callback(self._ended)
        if self._loop.is_stopping:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._loop.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            log_unexpected(f"{task.get_name()} ended unexpectedly", error)


def _log_untold(notice: object, error: Exception) -> None:
    log_unexpected(f"notice {notice} could not be told", error)
