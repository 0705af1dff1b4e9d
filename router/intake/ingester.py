"""Carries webhook events to the state, many at a time.

While one call is in flight, the events that arrive collect; the next call takes them all, of each
instance in turn: who sends many makes nobody else wait. It is events that count: of a webhook with
many, each call takes a few. There is no timer: a lone webhook waits for nothing, and a burst costs
one round trip for dozens.

There are a few such streams, so that one call is carried out while another is committed, and
webhooks are read here while the state works; all that is said in one chat goes the same stream, one
after the other. An instance whose events alone took too long goes a stream apart for a while, where
each call is about one instance: it keeps no other's messages back again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

from router.intake.stream import Reporting, Stream, instance_of
from router.state.calls.intake import Decision, IngestEvents, ingest_events
from router.state.database import Database, Json

STREAMS = 2  # with the one apart, and one for the guards: as many connections as webhooks may have
PATIENCE_MS = 50  # that a call waits for a lock which somebody else holds
_APART_FOR = 60.0  # seconds


class Ingester:
    """Hands events to the state, by `ingest_events`, and gives each caller its decisions."""

    def __init__(
        self,
        database: Database,
        policy: Mapping[str, object],
        on_decision: Callable[[Json, Decision], None],
    ) -> None:
        """Take `on_decision(event, decision)`: called after each commit; its faults are logged."""
        self._database = database
        self._policy = dict(policy)
        reporting = Reporting(self._ask, on_decision, self._set_apart)
        self._streams = tuple(Stream(reporting) for _ in range(STREAMS))
        self._apart = Stream(reporting, instances=1)
        self._apart_until: dict[str, float] = {}

    async def ingest(self, events: Sequence[Json]) -> list[Decision]:
        """Return one decision for each event, in order, when they are committed.

        Raises DatabaseAway; the events may have been recorded all the same, and giving them again
        returns the decisions that were made.
        """
        return await self._stream_for(events).ingest(events)

    def waiting_for(self, instance: str) -> int:
        """Return how many events of the instance wait for the next calls."""
        return sum(stream.sizes[instance] for stream in (*self._streams, self._apart))

    async def drain(self) -> None:
        """Wait until nothing is in flight: to be called before the database is closed."""
        for stream in (*self._streams, self._apart):
            await stream.drain()

    def _stream_for(self, events: Sequence[Json]) -> Stream:
        if not self._apart_until:
            return self._streams[stream_of(events)]
        instance = instance_of(events)
        until = self._apart_until.get(instance, 0.0)
        if until > asyncio.get_running_loop().time():
            return self._apart
        self._apart_until.pop(instance, None)
        return self._streams[stream_of(events)]

    def _set_apart(self, instance: str) -> None:
        self._apart_until[instance] = asyncio.get_running_loop().time() + _APART_FOR

    async def _ask(self, events: list[Json]) -> Sequence[Decision]:
        asked = IngestEvents(events, self._policy, PATIENCE_MS)
        decisions = (await ingest_events(self._database, asked)).decisions
        if len(decisions) != len(events):
            raise RuntimeError(f"{len(events)} events, {len(decisions)} decisions")
        return decisions


def stream_of(events: Sequence[Json]) -> int:
    """Return which stream: that of the first event's chat, in which nearly always all are."""
    jids = events[0].get("jids") if events else None
    chat = f"{instance_of(events)}/{jids[0] if jids else ''}"
    return crc32(chat.encode("utf-8", "surrogatepass")) % STREAMS
