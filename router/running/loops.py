"""Loops that run as long as the program. Each survives any exception of its step.

If a loop ended, customers would get no answers any more (or people no notices), and only a restart
of the program would help.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from router.errors import StateError
from router.logs.events import Action, log_event

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Loop:
    """Takes one step after another until it is asked to stop.

    `step` returns the seconds until the next step; `wake` makes it come earlier. If a step fails,
    the text `failed` is logged, and the next step comes after `pause` seconds.
    """

    def __init__(self, step: Callable[[], Awaitable[float]], *, pause: float, failed: str) -> None:
        self._step = step
        self._pause = pause
        self._failed = failed
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.is_stopping = False

    def wake(self, due_in: float = 0.0) -> None:
        """Take the next step now, or in `due_in` seconds unless an earlier one is planned."""
        if due_in <= 0:
            self._woken.set()
            return
        loop = asyncio.get_running_loop()
        due_at = loop.time() + due_in
        if self._timer is None or self._timer.when() > due_at:
            self._cancel_timer()
            self._timer = loop.call_at(due_at, self._alarm)

    def stop(self) -> None:
        """Take no further step; the current one is finished."""
        self.is_stopping = True
        self._woken.set()
        self._cancel_timer()

    async def run(self) -> None:
        """Step until `stop`. Raises only CancelledError, if its task is cancelled."""
        while not self.is_stopping:
            self._woken.clear()
            self.wake(await self._step_safely())
            await self._woken.wait()

    async def _step_safely(self) -> float:
        wait = await safely(self._step, self._failed)
        return self._pause if wait is None else wait

    def _alarm(self) -> None:
        self._timer = None
        self._woken.set()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def safely(step: Callable[[], Awaitable[T]], failed: str) -> T | None:
    """Return what the step returns; None if it failed, which is logged.

    Raises CancelledError if this task is cancelled, and nothing else. A CancelledError that the
    step raises without that is a failure like any other.
    """
    try:
        return await step()
    except StateError as error:
        log_event(_log, Action.DATABASE_AWAY, f"{failed}: {error}", level=logging.WARNING)
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        log_unexpected(failed, error)
    except Exception as error:  # noqa: BLE001 - no error may end the caller
        log_unexpected(failed, error)
    return None


def log_unexpected(failed: str, error: BaseException | None) -> None:
    """Log an unforeseen error with its traceback."""
    log_event(_log, Action.UNEXPECTED, f"{failed}: {error!r}", level=logging.ERROR, exc_info=error)


def is_cancelled() -> bool:
    """Whether this task is being cancelled. Only then is a CancelledError meant for this task."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
