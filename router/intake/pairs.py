"""Asks Evolution who has a LID, when the owner writes to one that is unknown.

Evolution 2.3 sometimes reports only the LID of a chat. Its stored messages of that chat may name
the phone as well. Such a message is then recorded like any other, and the state knows that LID and
phone are one person. If there is none, the conversations that the LID may belong to wait
(`unknown_lid_minutes`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from router.errors import StateError
from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError
from router.intake.events import NotAnEnvelope, parse_webhook
from router.intake.ingester import Ingester
from router.logs.events import Action, log_event
from router.running.loops import safely
from router.state.database import Database, Json
from router.tenants.instance import InstanceKeys, find_instance
from router.whatsapp.clean import as_list

_log = logging.getLogger(__name__)
AT_ONCE = 4
_MOST_WAITING = 100  # further LIDs are not asked about: the conversations wait in any case
_AGAIN_AFTER = 3600.0  # seconds
_MOST_REMEMBERED = 10_000
_RECORDS = 10
_SECONDS = 10.0  # for both requests


class Pairs:
    """Asks about a few LIDs at a time, about each once an hour, or again if Evolution was away."""

    def __init__(
        self,
        database: Database,
        evolution: EvolutionClient,
        ingester: Ingester,
        keys: InstanceKeys,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._evolution = evolution
        self._ingester = ingester
        self._keys = keys
        self._clock = clock
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[tuple[str, str], float] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def ask(self, instance: str, lid: str) -> None:
        """Ask in the background whose LID this is, unless that was asked recently."""
        now = self._clock()
        if now - self._asked.get((instance, lid), -_AGAIN_AFTER) < _AGAIN_AFTER:
            return
        if len(self._running) >= _MOST_WAITING:
            return
        while len(self._asked) >= _MOST_REMEMBERED:
            self._asked.pop(next(iter(self._asked)))
        self._asked[instance, lid] = now
        look = safely(partial(self._look, instance, lid), "the look-up of a LID's person failed")
        task = asyncio.create_task(look, name="whose LID it is")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Cancel what is under way."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def _look(self, instance: str, lid: str) -> None:
        async with self._free:
            try:
                async with asyncio.timeout(_SECONDS):
                    event = await self._find(instance, lid)
                if event is not None:
                    await self._ingester.ingest([event], "whose-lid")
            except (StateError, EvolutionError, TimeoutError) as error:
                self._asked.pop((instance, lid), None)
                log_event(
                    _log, Action.GAP_REPAIR_FAILED,
                    f"Evolution could not be asked whose LID it is: {error}",
                    level=logging.WARNING, instance=instance,
                )  # fmt: skip

    async def _find(self, instance: str, lid: str) -> Json | None:
        """Return a stored message that names both the LID and a phone."""
        tenant = await find_instance(self._database, instance, self._keys)
        for jid, other in ((lid, None), (None, lid)):
            page = await self._evolution.find_messages(
                tenant.reachable(), jid, page_size=_RECORDS, other_jid=other
            )
            for record in page.records:
                if (event := told_of(instance, lid, record)) is not None:
                    return event
        return None


def told_of(instance: str, lid: str, record: Mapping[str, Any]) -> Json | None:
    """Return the record's message if it says that the LID and a phone are one person."""
    body = {"event": "messages.upsert", "instance": instance, "data": record}
    try:
        events = parse_webhook(instance, body).events
    except NotAnEnvelope:
        return None
    for event in events:
        jids = as_list(event.get("jids"))
        if event["type"] == "message" and lid in jids and len(jids) > 1:
            return {**event, "fetched": True}
    return None
