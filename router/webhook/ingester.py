"""Carries webhook events to the state, many at a time.

While one call is in flight, the events that arrive collect; the next call takes them all, of each
instance in turn: who sends many webhooks makes nobody else wait. There is no timer: a lone webhook
waits for nothing, and a burst costs one round trip for dozens.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from router.errors import DatabaseAway
from router.loops import is_cancelled, log_unexpected
from router.state.database import Database, Json

MAX_EVENTS_PER_CALL = 100


@dataclass(slots=True, eq=False)
class _Waiting:
    """The events of one webhook and the place where their decisions are awaited."""

    events: Sequence[Json]
    decisions: asyncio.Future[list[Json]]


class Ingester:
    """Hands events to the SQL function `ingest_events` and gives each caller its decisions."""

    def __init__(
        self,
        database: Database,
        policy: Mapping[str, object],
        on_decision: Callable[[Json, Json], None],
    ) -> None:
        """Take `on_decision(event, decision)`: called after each commit; its faults are logged."""
        self._database = database
        self._policy = dict(policy)
        self._on_decision = on_decision
        self._waiting: dict[str, deque[_Waiting]] = {}  # by instance
        self._calling: asyncio.Task[None] | None = None

    async def ingest(self, events: Sequence[Json]) -> list[Json]:
        """Return one decision for each event, in order, when they are committed.

        Raises DatabaseAway; the events may have been recorded all the same, and giving them again
        returns the decisions that were made.
        """
        waiting = _Waiting(events, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(_instance_of(events), deque()).append(waiting)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_until_empty())
        return await waiting.decisions

    def waiting_for(self, instance: str) -> int:
        """Return how many webhooks of the instance wait for the next call."""
        return len(self._waiting.get(instance, ()))

    async def drain(self) -> None:
        """Wait until nothing is in flight: to be called before the database is closed."""
        if self._calling is not None:
            await asyncio.wait([self._calling])

    async def _call_until_empty(self) -> None:
        try:
            while batch := self._next_batch():
                await self._call(batch)
        finally:
            self._calling = None

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting:
            instance = next(iter(self._waiting))
            queue = self._waiting[instance]
            if batch and size + len(queue[0].events) > MAX_EVENTS_PER_CALL:
                break
            size += len(queue[0].events)
            batch.append(queue.popleft())
            del self._waiting[instance]
            if queue:
                self._waiting[instance] = queue  # at the end: the others come first
        return batch

    async def _call(self, batch: list[_Waiting]) -> None:
        events = [event for waiting in batch for event in waiting.events]
        try:
            decisions = await self._ask(events)
        except asyncio.CancelledError:
            self._tell(batch, DatabaseAway("the call was broken off"))
            if is_cancelled():
                raise
            return
        except Exception as error:  # noqa: BLE001 - every waiting webhook must hear of it
            self._tell(batch, error)
            return
        place = 0
        for waiting in batch:
            mine = decisions[place : place + len(waiting.events)]
            place += len(waiting.events)
            if not waiting.decisions.done():
                waiting.decisions.set_result(mine)
        for event, decision in zip(events, decisions, strict=True):
            self._react(event, decision)

    @staticmethod
    def _tell(batch: list[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.decisions.done():
                waiting.decisions.set_exception(error)

    def _react(self, event: Json, decision: Json) -> None:
        try:
            self._on_decision(event, decision)
        except Exception as error:  # noqa: BLE001 - it is committed, and others wait behind it
            log_unexpected("what was recorded was not reacted to", error)

    async def _ask(self, events: list[Json]) -> list[Json]:
        argument = {"events": events, "policy": self._policy}
        try:
            answer = await self._database.call("ingest_events", argument)
        except DatabaseAway:
            # A connection may have died while it was idle. Asking again is safe: what was recorded
            # comes back with its decision.
            answer = await self._database.call("ingest_events", argument)
        decisions: list[Json] = answer["decisions"]
        if len(decisions) != len(events):
            raise RuntimeError(f"{len(events)} events, {len(decisions)} decisions")
        return decisions


def _instance_of(events: Sequence[Json]) -> str:
    return str(events[0]["instance"]) if events else ""
