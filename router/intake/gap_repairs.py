"""Runs gap repairs in the background, a few at a time, even if some servers hang or refuse.

After a start the gaps of all instances are repaired, and after a restart of an Evolution those of
all its instances. These may be thousands of repairs, and none may take a place from a webhook or a
reply. So they start one after the other with a pause in between, run eight at a time, have their
own connections to Evolution, and use at most two connections of the database.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence

from router.configuration.settings import Settings
from router.errors import DatabaseAway, NotFound, StateError
from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError, EvolutionRefused
from router.intake.gap_queue import Gap, GapQueue
from router.intake.gap_repair import log_report, repair_gap
from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.logs.events import Action, log_event
from router.running.loops import is_cancelled, log_unexpected, safely
from router.state.calls.gaps import gaps_by_activity
from router.state.calls.intake import Decision
from router.state.database import Database, Json
from router.tenants.instance import InstanceKeys, find_instance
from router.tenants.policy import policy

_log = logging.getLogger(__name__)
AT_ONCE = 8
_CALLS_AT_ONCE = 2  # calls of the state
_BETWEEN_STARTS = 0.05  # seconds
_RETRY_DELAYS = (2.0, 10.0, 30.0, 60.0)


class _FewCalls:
    """The database, limited to this many calls at once."""

    def __init__(self, database: Database, at_once: int) -> None:
        self._database = database
        self._free = asyncio.Semaphore(at_once)

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        async with self._free:
            return await self._database.call(function, argument)


class GapRepairs:
    """Runs repairs, one at a time for each instance; `evolution` has a pool of its own.

    They have their own Ingester, which calls `on_decision` as for webhooks.
    """

    def __init__(
        self,
        database: Database,
        evolution: EvolutionClient,
        settings: Settings,
        marks: Marks,
        on_decision: Callable[[Json, Decision], None],
        *,
        retry_delays: Sequence[float] = _RETRY_DELAYS,
    ) -> None:
        self._database = _FewCalls(database, _CALLS_AT_ONCE)
        self._evolution = evolution
        # One call is about one instance, so that a repair does not delay other instances' webhooks.
        self._ingester = Ingester(self._database, policy(settings), marks, on_decision, instances=1)
        self._keys = InstanceKeys.of(settings)
        self._retry_delays = retry_delays
        self._queue = GapQueue(retry_delays)
        self._running: set[asyncio.Task[None]] = set()
        self._begin_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def begin(self, instance: str) -> None:
        """Repair the gap of `instance` next; a repair that is under way continues."""
        self._queue.add(instance, first=True)
        self._go_on()

    def begin_all(self) -> None:
        """Repair every active tenant's gap, because no event asks for it after a router's start."""
        self._run(self._list_all(), "gap repair of all")

    async def stop(self) -> None:
        """Cancel what is running; it starts again at the next reconnect."""
        self._is_stopping = True
        self._cancel_timer()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))
        await self._ingester.drain()

    async def _list_all(self) -> None:
        """List the instances; retry until it succeeds: nothing else starts these repairs."""
        while not await safely(self._list, "gap repair at the start failed"):  # noqa: ASYNC110
            await asyncio.sleep(self._retry_delays[-1])

    async def _list(self) -> bool:
        gaps = await gaps_by_activity(self._database)
        for instance, server_url in gaps.instances:
            self._queue.add(instance, server_url)
        return True

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._go_on()

    def _go_on(self, _: object = None) -> None:
        """Begin the repairs that may begin now, and schedule the next call of this."""
        self._cancel_timer()
        if self._is_stopping or len(self._running) >= AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._begin_at:
            gap = self._queue.take(now)
            if gap is not None:
                self._begin_at = now + _BETWEEN_STARTS
                self._run(self._repair(gap), f"gap repair of {gap.instance}")
                wait: float | None = _BETWEEN_STARTS
            else:
                wait = self._queue.seconds_to_next(now)
        else:
            wait = self._begin_at - now
        if wait is not None and self._queue:
            self._timer = loop.call_later(wait, self._go_on)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _repair(self, gap: Gap) -> None:
        queue = self._queue
        now = asyncio.get_running_loop().time
        try:
            if await self._repair_once(gap):
                queue.done(gap)
        except EvolutionRefused as error:
            self._log_failure(gap, f"gap repair failed: {error}", is_news=queue.refused(gap))
        except EvolutionError as error:
            is_news = queue.failed(gap, now())
            text = f"gap repair failed: {error}; the instances of {gap.server} wait"
            self._log_failure(gap, text, is_news=is_news)
        except NotFound:
            queue.drop(gap)
        except DatabaseAway as error:
            queue.put_back(gap)
            is_news = self._begin_at <= now() + _BETWEEN_STARTS
            self._begin_at = now() + self._retry_delays[0]
            self._log_failure(gap, f"gap repair waits for the database: {error}", is_news=is_news)
        except StateError as error:  # affects this instance alone: the others do not wait for it
            queue.put_back(gap, to_the_end=True)
            self._log_failure(gap, f"gap repair failed: {error}", is_news=gap.tries <= 1)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            queue.put_back(gap, to_the_end=True)
            log_unexpected(f"gap repair of {gap.instance} failed", error)

    async def _repair_once(self, gap: Gap) -> bool:
        """Repair the gap. Return False if it has to wait for its server instead."""
        tenant = await find_instance(self._database, gap.instance, self._keys)
        if not self._queue.place(gap, tenant.server_url, asyncio.get_running_loop().time()):
            return False
        report = await repair_gap(self._database, self._evolution, tenant, self._ingester)
        log_report(report, tenant.tenant_id)
        return True

    @staticmethod
    def _log_failure(gap: Gap, text: str, *, is_news: bool) -> None:
        log_event(
            _log, Action.GAP_REPAIR_FAILED, text, instance=gap.instance,
            level=logging.WARNING if is_news else logging.DEBUG,
        )  # fmt: skip
