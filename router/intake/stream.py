"""Makes one call of `ingest_events` at a time, and collects webhooks for the next one.

The state does not wait long for a locked session: it answers `busy` for its events. These are
repeated with the next call, before later events of their instance, so that one contact does not
delay the messages of others.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from router.errors import DatabaseAway, DatabaseTooSlow
from router.running.loops import is_cancelled, log_unexpected
from router.state.calls.intake import Decision
from router.state.database import Json

MAX_EVENTS_PER_CALL = 100
EVENTS_OF_ONE_WEBHOOK = 20  # in a call, at most
_BUSY = "busy"
_GIVE_UP_AFTER = 15.0  # seconds without a decision for any event of a webhook
_MOST_FAILED = 2  # instances that fail alone until the database counts as away


@dataclass(frozen=True, slots=True)
class Reporting:
    """The functions that a stream calls.

    `ask` makes one call of the state. `on_decision(event, decision)` is called for each event after
    its commit; its errors are logged. `on_slow` is called for an instance whose events alone took
    too long.
    """

    ask: Callable[[list[Json]], Awaitable[Sequence[Decision]]]
    on_decision: Callable[[Json, Decision], None]
    on_slow: Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """The events of one webhook, and the future of their decisions."""

    events: Sequence[Json]
    decisions: asyncio.Future[list[Decision]]
    give_up_at: float
    decided: dict[int, Decision] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        """The instance that sent the webhook."""
        return instance_of(self.events)

    def left(self) -> list[int]:
        """Return the positions of the events that are not decided yet."""
        return [place for place in range(len(self.events)) if place not in self.decided]

    def finish(self) -> None:
        """Pass on the decisions, all of which have been made."""
        if not self.decisions.done():
            self.decisions.set_result([self.decided[place] for place in range(len(self.events))])


_Asked: TypeAlias = tuple[_Waiting, list[int]]  # a webhook, and the positions of the events sent


class Stream:
    """Sends events of at most `instances` instances in one call."""

    def __init__(self, reporting: Reporting, instances: int = MAX_EVENTS_PER_CALL) -> None:
        self._reporting = reporting
        self._instances = instances
        self._waiting: dict[str, deque[_Waiting]] = {}  # by instance
        self.sizes: Counter[str] = Counter()  # how many events wait of each
        self._calling: asyncio.Task[None] | None = None

    async def ingest(self, events: Sequence[Json]) -> list[Decision]:
        """Return one decision for each event, in order, when they are committed.

        Raises DatabaseAway; the events may have been recorded even then.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, loop.create_future(), loop.time() + _GIVE_UP_AFTER)
        self._waiting.setdefault(waiting.instance, deque()).append(waiting)
        self.sizes[waiting.instance] += len(events)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_until_empty())
        return await waiting.decisions

    async def drain(self) -> None:
        """Wait until nothing is in flight."""
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
        instances: set[str] = set()
        size = 0
        while self._waiting:
            instance = next(iter(self._waiting))
            queue = self._waiting[instance]
            left = queue[0].left()
            places = left[:EVENTS_OF_ONE_WEBHOOK]
            instances.add(instance)
            if batch and (
                size + len(places) > MAX_EVENTS_PER_CALL or len(instances) > self._instances
            ):
                break
            size += len(places)
            batch.append((queue.popleft(), places))
            self.sizes[instance] -= len(left)
            del self._waiting[instance]
            if queue:
                self._waiting[instance] = queue  # at the end: the others come first
            else:
                del self.sizes[instance]
        return batch

    async def _call(self, batch: list[_Asked]) -> None:
        try:
            await self._record(batch)
        except asyncio.CancelledError:
            _tell(batch, DatabaseAway("the call was broken off"))
            if is_cancelled():
                raise
        except DatabaseAway as error:
            await self._call_apart(batch, error)
        except Exception as error:  # noqa: BLE001 - every waiting webhook must get the error
            _tell(batch, error)

    async def _call_apart(self, batch: list[_Asked], error: DatabaseAway) -> None:
        """Try again with each instance alone, to find one whose events take too long.

        The reason may also be a connection that died while it was idle. Repeating the call is safe:
        events that were recorded come back with their decision.
        """
        parts = _by_instance(batch)
        failed = 0
        while parts and failed < _MOST_FAILED:
            instance, part = parts.popleft()
            try:
                await self._record(part)
            except DatabaseAway as again:
                failed += 1
                error = again
                _tell(part, again)
                if isinstance(again, DatabaseTooSlow):
                    self._reporting.on_slow(instance)
        for _, part in parts:
            _tell(part, error)

    async def _record(self, batch: list[_Asked]) -> None:
        asked = [(waiting, place) for waiting, places in batch for place in places]
        decisions = await self._reporting.ask([waiting.events[place] for waiting, place in asked])
        made = [each for each in zip(asked, decisions, strict=True) if each[1].outcome != _BUSY]
        give_up_at = asyncio.get_running_loop().time() + _GIVE_UP_AFTER
        for (waiting, place), decision in made:
            waiting.decided[place] = decision
            waiting.give_up_at = give_up_at
        self._settle(batch)
        for (waiting, place), decision in made:
            self._react(waiting.events[place], decision)

    def _settle(self, batch: list[_Asked]) -> None:
        """Pass on the decisions; events without one wait, and are the first of the next call."""
        now = asyncio.get_running_loop().time()
        first: dict[str, deque[_Waiting]] = {}
        for each in reversed(batch):
            waiting, _ = each
            instance = waiting.instance
            if not waiting.left():
                waiting.finish()
            elif waiting.give_up_at <= now:
                _tell([each], DatabaseAway("the conversation is held by another call"))
            else:
                queue = first.pop(instance, None) or self._waiting.pop(instance, None) or deque()
                queue.appendleft(waiting)
                first[instance] = queue
                self.sizes[instance] += len(waiting.left())
        if first:
            self._waiting = {**dict(reversed(first.items())), **self._waiting}

    def _react(self, event: Json, decision: Decision) -> None:
        try:
            self._reporting.on_decision(event, decision)
        except Exception as error:  # noqa: BLE001 - the event is committed, and others wait
            log_unexpected("the reaction to a recorded event failed", error)


def instance_of(events: Sequence[Json]) -> str:
    """Return the instance of the events."""
    return str(events[0]["instance"]) if events else ""


def _tell(batch: Iterable[_Asked], error: Exception) -> None:
    for waiting, _ in batch:
        if not waiting.decisions.done():
            waiting.decisions.set_exception(error)


def _by_instance(batch: Iterable[_Asked]) -> deque[tuple[str, list[_Asked]]]:
    parts: dict[str, list[_Asked]] = {}
    for each in batch:
        parts.setdefault(each[0].instance, []).append(each)
    return deque(parts.items())
