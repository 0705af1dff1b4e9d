"""Claims due turns and has an attempt made at each, many sessions at a time.

The dispatcher sleeps until the earliest due turn that it knows of, is woken by this process's own
ingests, and looks by itself every few seconds for what other processes have left behind.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from router.errors import DatabaseAway
from router.logs import Action, log_event
from router.state.database import Database, Json
from router.turns.claimed import ClaimedTurn

_log = logging.getLogger(__name__)
_LOCKED_ELSEWHERE = (
    0.2  # seconds until a due turn that another process is looking at is tried again
)


class Attempt(Protocol):
    """One attempt at a turn, as the dispatcher sees it."""

    async def run(self) -> None:
        """Work on the turn and tell the state how it ended; raises nothing but CancelledError."""

    def stop(self) -> bool:
        """Ask it to give the turn back. Returns whether its task should be cancelled at once."""


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How turns are claimed; times in seconds."""

    parallel: int
    lease: float
    max_attempts: int
    history: int
    poll: float
    worker: str
    tenant_max: int | None = None
    """How many turns one tenant may have under way at once; None: any number."""
    flows: int | None = None
    """How many turns may be in n8n at once; None: n8n is not used."""


class Dispatcher:
    """The loop between the state and the attempts."""

    def __init__(
        self,
        database: Database,
        limits: ClaimLimits,
        begin_attempt: Callable[[ClaimedTurn], Attempt],
    ) -> None:
        self._database = database
        self._limits = limits
        self._begin_attempt = begin_attempt
        self._running: dict[asyncio.Task[None], tuple[int, Attempt]] = {}
        self._woken = asyncio.Event()
        self._wake_timer: asyncio.TimerHandle | None = None
        self._stopping = False

    def wake(self, due_in: float = 0.0) -> None:
        """There is (or will be, in `due_in` seconds) a turn to claim."""
        loop = asyncio.get_running_loop()
        if due_in <= 0:
            self._woken.set()
            return
        due_at = loop.time() + due_in
        if self._wake_timer is None or self._wake_timer.when() > due_at:
            self._cancel_timer()
            self._wake_timer = loop.call_at(due_at, self._alarm)

    def abandon(self, session_id: int) -> None:
        """A human took this session over: stop making a reply that the fence would refuse."""
        for task, (session, attempt) in self._running.items():
            if session == session_id and attempt.stop():
                task.cancel()

    async def run(self) -> None:
        """Claim and dispatch until `stop`; returns when the last attempt has ended."""
        while not self._stopping:
            self._woken.clear()
            self.wake(await self._claim_safely())
            await self._woken.wait()
        if self._running:
            await asyncio.wait(list(self._running))

    async def stop(self) -> None:
        """Claim nothing more; what is being sent is finished, the rest is given back."""
        self._stopping = True
        self._woken.set()
        self._cancel_timer()
        await asyncio.sleep(0)  # a task that is cancelled before it has begun gives nothing back
        for task, (_, attempt) in list(self._running.items()):
            if attempt.stop():
                task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    def _alarm(self) -> None:
        self._wake_timer = None
        self._woken.set()

    def _cancel_timer(self) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None

    async def _claim_safely(self) -> float:
        """Claim, whatever happens: if this loop ended, no customer would be answered any more."""
        try:
            return await self._claim()
        except DatabaseAway as error:
            log_event(_log, Action.DATABASE_AWAY, str(error), level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 - see above; it is logged with its traceback
            log_event(
                _log,
                Action.UNEXPECTED,
                f"turns could not be claimed: {error!r}",
                level=logging.ERROR,
                exc_info=error,
            )
        return self._limits.poll

    async def _claim(self) -> float:
        """Claim what is due and start on it. Returns the seconds until the next look."""
        free = self._limits.parallel - len(self._running)
        if free <= 0:
            return self._limits.poll  # the end of an attempt wakes us
        answer = await self._database.call(
            "claim_turns",
            {
                "limit": free,
                "lease_seconds": self._limits.lease,
                "max_attempts": self._limits.max_attempts,
                "history_limit": self._limits.history,
                "worker": self._limits.worker,
                "tenant_max": self._limits.tenant_max,
                **({} if self._limits.flows is None else {"n8n_max_in_flight": self._limits.flows}),
            },
        )
        for context in answer["turns"]:
            self._start(ClaimedTurn.model_validate(context))
        return self._seconds_until_next(answer)

    def _seconds_until_next(self, answer: Json) -> float:
        if answer["next_due_at"] is None:
            return self._limits.poll
        now = datetime.fromisoformat(answer["now"])
        wait = (datetime.fromisoformat(answer["next_due_at"]) - now).total_seconds()
        if wait <= 0 and len(self._running) >= self._limits.parallel:
            return self._limits.poll
        return min(max(wait, _LOCKED_ELSEWHERE), self._limits.poll)

    def _start(self, turn: ClaimedTurn) -> None:
        attempt = self._begin_attempt(turn)
        task = asyncio.create_task(attempt.run(), name=f"turn {turn.turn_id}")
        self._running[task] = (turn.session.session_id, attempt)
        task.add_done_callback(self._ended)
        if self._stopping:
            attempt.stop()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log_event(
                _log,
                Action.AI_FAILED,
                f"{task.get_name()} ended unexpectedly: {error!r}",
                level=logging.ERROR,
                exc_info=error,
            )
