"""Claims due notices and has each told, several at a time.

Like the dispatcher of turns it sleeps until the earliest due notice that it knows of, and looks by
itself every few seconds for what other processes have made.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from router.errors import DatabaseAway
from router.logs import Action, log_event
from router.notices.claimed import ClaimedNotice
from router.notices.delivery import Delivery
from router.state.database import Database

_log = logging.getLogger(__name__)
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
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There may be a notice to claim."""
        self._woken.set()

    async def run(self) -> None:
        """Claim and tell until `stop`; returns when the last delivery has ended."""
        while not self._stopping:
            self._woken.clear()
            pause = await self._claim_safely()
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue
        if self._running:
            await asyncio.wait(list(self._running))

    async def stop(self) -> None:
        """Claim nothing more; a message that is leaving is finished, the rest comes back later."""
        self._stopping = True
        self._woken.set()
        for task, delivery in list(self._running.items()):
            if delivery.stop():
                task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def _claim_safely(self) -> float:
        """Claim, whatever happens: if this loop ended, nobody would be told of anything."""
        try:
            return await self._claim()
        except DatabaseAway as error:
            log_event(_log, Action.DATABASE_AWAY, str(error), level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 - see above; it is logged with its traceback
            log_event(
                _log,
                Action.UNEXPECTED,
                f"notices could not be claimed: {error!r}",
                level=logging.ERROR,
                exc_info=error,
            )
        return self._limits.poll

    async def _claim(self) -> float:
        """Claim what is due and begin to tell it. Returns the seconds until the next look."""
        free = self._limits.parallel - len(self._running)
        if free <= 0:
            return self._limits.poll  # the end of a delivery wakes us
        answer = await self._database.call(
            "claim_notices",
            {
                "limit": free,
                "lease_seconds": self._limits.lease,
                "max_attempts": self._limits.max_attempts,
            },
        )
        for context in answer["notices"]:
            self._start(ClaimedNotice.model_validate(context))
        if answer["next_due_at"] is None:
            return self._limits.poll
        now, due = (datetime.fromisoformat(answer[name]) for name in ("now", "next_due_at"))
        return min(max((due - now).total_seconds(), _LOCKED_ELSEWHERE), self._limits.poll)

    def _start(self, notice: ClaimedNotice) -> None:
        delivery = self._begin(notice)
        task = asyncio.create_task(delivery.run(), name=f"notice {notice.notice_id}")
        self._running[task] = delivery
        task.add_done_callback(self._ended)
        if self._stopping:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._woken.set()
