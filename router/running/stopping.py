"""How the program ends within ten seconds after a SIGTERM, whatever is under way.

First uvicorn waits REQUESTS_GRACE seconds for requests under way. Then the lifespan ends, and sends
under way get STOP_GRACE seconds more. A send that is abandoned stays recorded as under way; the
next process that claims it finds out how it ended. Every wait here has a limit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from router.logs.events import Action, log_event

_log = logging.getLogger(__name__)
REQUESTS_GRACE = 3
"""Seconds; the same as --timeout-graceful-shutdown in the Procfile and the Dockerfile."""
STOP_GRACE = 4.0
_GIVING_BACK = 1.0  # seconds in which a cancelled task can give its claim back to the state
STOP_SECONDS = STOP_GRACE + _GIVING_BACK
ENDING_SECONDS = STOP_SECONDS + 1.0  # including the closing of connections


async def end_tasks(tasks: Iterable["asyncio.Task[None]"], grace: float) -> None:
    """Wait `grace` seconds for the tasks, then cancel them; leave those that ignore that."""
    under_way = list(tasks)
    if not under_way:
        return
    _, late = await asyncio.wait(under_way, timeout=grace)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_GIVING_BACK)


async def within(step: Callable[[], Awaitable[None]], seconds: float, name: str) -> None:
    """Do a step of the shutdown; if it fails or takes too long, the shutdown goes on."""

    async def take() -> None:
        await step()

    task = asyncio.create_task(take(), name=name)
    _, late = await asyncio.wait([task], timeout=seconds)
    if late:
        task.cancel()
        log_event(_log, Action.STOPPED, f"{name} did not end in time", level=logging.WARNING)
    elif not task.cancelled() and (error := task.exception()) is not None:
        log_event(
            _log, Action.STOPPED, f"{name} ended badly: {error!r}", level=logging.WARNING,
            exc_info=error,
        )  # fmt: skip
