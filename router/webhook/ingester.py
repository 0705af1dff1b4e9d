"""Carries webhook events to the state, many at a time.

While one call is in flight, the events that arrive collect; the next call takes them all, of each
instance in turn: who sends many makes nobody else wait. It is events that count: of a webhook with
many, each call takes a few. There is no timer: a lone webhook waits for nothing, and a burst costs
one round trip for dozens.

The state does not wait long for a contact whose session somebody else holds: it says that it is
busy. Those events are asked about again with the next call, before what their instance sent after
them, so that one contact keeps no other's messages back.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from router.errors import DatabaseAway
from router.loops import is_cancelled, log_unexpected
from router.state.database import Database, Json

MAX_EVENTS_PER_CALL = 100
EVENTS_OF_ONE_WEBHOOK = 20  # in a call, at most
PATIENCE_MS = 50  # that a call waits for a lock which somebody else holds
_BUSY = "busy"
_GIVE_UP_AFTER = 15.0  # seconds in which nothing of a webhook could be decided


@dataclass(slots=True, eq=False)
class _Waiting:
    """The events of one webhook and the place where their decisions are awaited."""

    events: Sequence[Json]
    decisions: asyncio.Future[list[Json]]
    give_up_at: float
    decided: dict[int, Json] = field(default_factory=dict)

    def left(self) -> list[int]:
        """Return the places of the events that are not decided yet."""
        return [place for place in range(len(self.events)) if place not in self.decided]

    def finish(self) -> None:
        """Tell the decisions, all of which have been made."""
        if not self.decisions.done():
            self.decisions.set_result([self.decided[place] for place in range(len(self.events))])


_Asked: TypeAlias = tuple[_Waiting, list[int]]  # a webhook, and which of its events are asked about


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
        self._sizes: Counter[str] = Counter()  # how many events wait of each
        self._calling: asyncio.Task[None] | None = None

    async def ingest(self, events: Sequence[Json]) -> list[Json]:
        """Return one decision for each event, in order, when they are committed.

        Raises DatabaseAway; the events may have been recorded all the same, and giving them again
        returns the decisions that were made.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, loop.create_future(), loop.time() + _GIVE_UP_AFTER)
        instance = _instance_of(events)
        self._waiting.setdefault(instance, deque()).append(waiting)
        self._sizes[instance] += len(events)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_until_empty())
        return await waiting.decisions

    def waiting_for(self, instance: str) -> int:
        """Return how many events of the instance wait for the next call."""
        return self._sizes[instance]

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

    def _next_batch(self) -> list[_Asked]:
        batch: list[_Asked] = []
        size = 0
        while self._waiting:
            instance = next(iter(self._waiting))
            queue = self._waiting[instance]
            left = queue[0].left()
            places = left[:EVENTS_OF_ONE_WEBHOOK]
            if batch and size + len(places) > MAX_EVENTS_PER_CALL:
                break
            size += len(places)
            batch.append((queue.popleft(), places))
            self._sizes[instance] -= len(left)
            del self._waiting[instance]
            if queue:
                self._waiting[instance] = queue  # at the end: the others come first
            else:
                del self._sizes[instance]
        return batch

    async def _call(self, batch: list[_Asked]) -> None:
        asked = [(waiting, place) for waiting, places in batch for place in places]
        webhooks = [waiting for waiting, _ in batch]
        try:
            decisions = await self._ask([waiting.events[place] for waiting, place in asked])
        except asyncio.CancelledError:
            self._tell(webhooks, DatabaseAway("the call was broken off"))
            if is_cancelled():
                raise
            return
        except Exception as error:  # noqa: BLE001 - every waiting webhook must hear of it
            self._tell(webhooks, error)
            return
        made = [each for each in zip(asked, decisions, strict=True) if each[1]["outcome"] != _BUSY]
        give_up_at = asyncio.get_running_loop().time() + _GIVE_UP_AFTER
        for (waiting, place), decision in made:
            waiting.decided[place] = decision
            waiting.give_up_at = give_up_at
        self._settle(webhooks)
        for (waiting, place), decision in made:
            self._react(waiting.events[place], decision)

    def _settle(self, webhooks: list[_Waiting]) -> None:
        """Tell those that are decided; the others wait on, before what came after them."""
        now = asyncio.get_running_loop().time()
        for waiting in reversed(webhooks):
            if not waiting.left():
                waiting.finish()
            elif waiting.give_up_at <= now:
                self._tell([waiting], DatabaseAway("the conversation is held by another call"))
            else:
                instance = _instance_of(waiting.events)
                self._waiting.setdefault(instance, deque()).appendleft(waiting)
                self._sizes[instance] += len(waiting.left())

    @staticmethod
    def _tell(webhooks: list[_Waiting], error: Exception) -> None:
        for waiting in webhooks:
            if not waiting.decisions.done():
                waiting.decisions.set_exception(error)

    def _react(self, event: Json, decision: Json) -> None:
        try:
            self._on_decision(event, decision)
        except Exception as error:  # noqa: BLE001 - it is committed, and others wait behind it
            log_unexpected("what was recorded was not reacted to", error)

    async def _ask(self, events: list[Json]) -> list[Json]:
        argument = {"events": events, "policy": self._policy, "patience_ms": PATIENCE_MS}
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
