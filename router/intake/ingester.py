"""The one way in: carries events to the state, many at a time, from webhooks and gap repair.

Each event gets its marks here (see `marks`) and is recorded, then its reactions follow. This is the
same for events from webhooks and from gap repair: nothing else calls `ingest_events`.

While one call is in flight, new events collect. The next call takes them in turn from each
instance, so that a busy sender makes no other wait. Events count, not webhooks: each call takes
only a few events of a webhook with many. There is no timer: a lone webhook does not wait, and a
burst needs one round trip for dozens of events.

There are a few such streams, so that one call runs while another is committed, and webhooks are
read while the state works. All events of one chat go through the same stream, one after the other.
An instance whose events alone took too long gets a separate stream for a while, where each call is
about one instance, so that it delays no other instance's messages. If it is still slow after that,
it goes there for twice as long, because others wait each time until this is found out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from router.intake.marks import Marks
from router.intake.stream import MAX_EVENTS_PER_CALL, Reporting, Stream, instance_of
from router.state.calls.intake import Decision, IngestEvents, ingest_events
from router.state.database import Database, Json

STREAMS = (
    2  # plus the separate stream and the access cache: as many connections as webhooks may have
)
PATIENCE_MS = 50  # for which a call waits for a lock
_APART_FOR = 60.0  # seconds, the first time
_LONGEST_APART = 3600.0


@dataclass(frozen=True, slots=True)
class _Apart:
    """Until when an instance uses the separate stream, and for how many seconds in all."""

    until: float
    seconds: float

    def again(self, now: float) -> "_Apart":
        """Return the value for an instance that came back and is slow again: twice as long."""
        twice = min(2 * self.seconds, _LONGEST_APART)
        seconds = twice if now >= self.until else self.seconds
        return _Apart(now + seconds, seconds)

    def is_forgotten(self, now: float) -> bool:
        """Whether it came back and has been fast for as long as it was apart."""
        return now >= self.until + self.seconds


class Ingester:
    """Hands events to the state by `ingest_events`, and gives each caller its decisions."""

    def __init__(
        self,
        database: Database,
        policy: Mapping[str, object],
        marks: Marks,
        on_decision: Callable[[Json, Decision], None],
        *,
        instances: int = MAX_EVENTS_PER_CALL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_decision(event, decision)` is called after each commit; its errors are logged.

        One call contains events of at most `instances` instances. `clock` gives seconds.
        """
        self._database = database
        self._policy = dict(policy)
        self._marks = marks
        reporting = Reporting(self._ask, on_decision, self._set_apart)
        self._streams = tuple(Stream(reporting, instances) for _ in range(STREAMS))
        self._apart = Stream(reporting, instances=1)
        self._slow: dict[str, _Apart] = {}
        self._clock = clock

    async def ingest(self, events: Sequence[Json], correlation_id: str) -> list[Decision]:
        """Return one decision for each event, in order, once they are committed.

        `correlation_id` identifies their webhook or repair in the log. Raises DatabaseAway; the
        events may have been recorded even then, and ingesting them again returns the decisions that
        were made.
        """
        marked = [self._marks.marked(event, correlation_id) for event in events]
        return await self._stream_for(marked).ingest(marked)

    def waiting_for(self, instance: str) -> int:
        """Return how many events of the instance are not in a call yet."""
        return sum(stream.sizes[instance] for stream in (*self._streams, self._apart))

    async def drain(self) -> None:
        """Wait until nothing is in flight; call this before the database is closed."""
        for stream in (*self._streams, self._apart):
            await stream.drain()

    def _stream_for(self, events: Sequence[Json]) -> Stream:
        if self._slow and (apart := self._slow.get(instance_of(events))) is not None:
            now = self._clock()
            if now < apart.until:
                return self._apart
            if apart.is_forgotten(now):
                del self._slow[instance_of(events)]
        return self._streams[stream_of(events)]

    def _set_apart(self, instance: str) -> None:
        now = self._clock()
        before = self._slow.get(instance)
        if before is None or before.is_forgotten(now):
            self._slow[instance] = _Apart(now + _APART_FOR, _APART_FOR)
        else:
            self._slow[instance] = before.again(now)

    async def _ask(self, events: list[Json]) -> Sequence[Decision]:
        asked = IngestEvents(events, self._policy, PATIENCE_MS)
        decisions = (await ingest_events(self._database, asked)).decisions
        if len(decisions) != len(events):
            raise RuntimeError(f"{len(events)} events, {len(decisions)} decisions")
        return decisions


def stream_of(events: Sequence[Json]) -> int:
    """Return the number of the stream, by the first event's chat: almost always that of all."""
    jids = events[0].get("jids") if events else None
    chat = f"{instance_of(events)}/{jids[0] if jids else ''}"
    return crc32(chat.encode("utf-8", "surrogatepass")) % STREAMS
