"""Gap repair: fetches messages that Evolution stored but no webhook brought.

Evolution keeps webhooks that it could not deliver in memory, for some 20 minutes. A longer outage,
or its own restart, loses them. It still lists the messages that it stored (`POST
/chat/findMessages/{instance}`, newest first), in the format of messages.upsert except the `status`.
They come in like any event, with the same dedupe keys as webhooks, so a message that comes both
ways counts once. Messages that are hours old are recorded, not answered.

`router.intake.gap_repairs` runs the repairs in the background.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.errors import EvolutionAway
from router.evolution.exchange import Instance
from router.evolution.pages import SIZES, Pages, PassedOver
from router.intake.events import NotAnEnvelope, parse_webhook
from router.intake.ingester import Ingester
from router.logs.events import Action, log_event
from router.outbound.answers import beside_the_loop
from router.state.calls.gaps import CaughtUp, GapFrom, GapStart, caught_up, gap_start
from router.state.calls.intake import Decision
from router.state.database import Database, Json
from router.tenants.instance import TenantInstance
from router.whatsapp.clean import as_object, as_text, as_time

_log = logging.getLogger(__name__)
_MOST_RECORDS = 200 * SIZES[0]
_MOST_ASKED = 400  # requests for these records; large records come a few at a time
_MOST_PASSED_OVER = 50  # each is requested five times; no real Evolution has so many
_HEAVIEST = 32 * 1024 * 1024  # characters that are kept until they are recorded
_OF_A_RECORD = 1000  # characters that each record counts in addition to its content
_PAGE_SECONDS = 10.0  # for a page, until its last byte
_MOST_SECONDS = 300.0  # for all pages, because other repairs wait for the place
_EVENTS_AT_A_TIME = 20  # so that webhooks are recorded in between
_MARGIN_SECONDS = 600  # the clocks of WhatsApp, Evolution and the database differ
_LOOK_BACK_HOURS = 24
_KNOWN = ("known_message", "own_message")


@dataclass(frozen=True, slots=True)
class GapReport:
    """What a repair found: how many of the `listed` messages since `since` were new.

    `unused` counts, for example, messages of groups and status posts, `failed` those that could not
    be read or recorded. `complete` is false if there were more messages than a repair reads.
    """

    instance: str
    since: datetime
    listed: int
    new: int
    known: int
    unused: int
    failed: int
    turns: int
    complete: bool


async def repair_gap(
    database: Database,
    evolution: EvolutionClient,
    tenant: TenantInstance,
    ingester: Ingester,
    since: datetime | None = None,
) -> GapReport:
    """Fetch and record what Evolution stored since `since`, or since messages may be missing.

    Raises EvolutionError and StateError. What was recorded before the error stays, and the next
    repair starts from the same time again.
    """
    start = await _gap_start(database, tenant)
    # Evolution's times are whole seconds.
    begin = (since or start.since).replace(microsecond=0)
    correlation_id = f"gap-{uuid4().hex[:12]}"
    read = partial(_read, tenant.name)
    stored, passed_over, complete = await _list_stored(evolution, tenant, begin, read)
    for each in passed_over:
        _log_passed_over(each, tenant, begin)
    decisions: list[Decision] = []
    for place in range(0, len(stored), _EVENTS_AT_A_TIME):
        few = stored[place : place + _EVENTS_AT_A_TIME]
        events = [event for each in few for event in each.events]
        if events:
            decisions.extend(await ingester.ingest(events, correlation_id))
    if since is None and complete:
        await caught_up(database, CaughtUp(tenant_id=tenant.tenant_id, until=start.now))
    new = [decision for decision in decisions if _is_new(decision)]
    refused = sum(decision.outcome == "failed" for decision in decisions)
    ignored = sum(decision.outcome == "ignored" for decision in decisions)
    return GapReport(
        instance=tenant.name,
        since=begin,
        listed=len(stored) + len(passed_over),
        new=len(new),
        known=len(decisions) - len(new) - refused - ignored,
        unused=sum(each.is_unused for each in stored) + ignored,
        failed=sum(each.is_failed for each in stored) + len(passed_over) + refused,
        turns=len({decision.turn_id for decision in new if decision.turn_id}),
        complete=complete,
    )


async def _gap_start(database: Database, tenant: TenantInstance) -> GapFrom:
    asked = GapStart(
        tenant_id=tenant.tenant_id,
        margin_seconds=_MARGIN_SECONDS,
        look_back_hours=_LOOK_BACK_HOURS,
    )
    return await gap_start(database, asked)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is kept of a record: its events, without media and thumbnails."""

    sent_at: datetime
    events: Sequence[Json]
    is_unused: bool = False
    is_failed: bool = False

    @property
    def weight(self) -> int:
        return _OF_A_RECORD + sum(len(repr(event)) for event in self.events)


async def _list_stored(
    evolution: EvolutionClient,
    tenant: TenantInstance,
    since: datetime,
    read: Callable[[Mapping[str, Any]], _Stored],
) -> tuple[list[_Stored], list[PassedOver], bool]:
    """Return the stored records, oldest first, those too large, and whether these are all.

    A record that is too large is reported and left out. It does not keep the gap open, because it
    would be too large the next time, too.

    A message that is edited while the pages are read moves to the first page, so that page is read
    again at the end.
    """
    instance = tenant.reachable()
    clock = asyncio.get_running_loop().time
    ends = clock() + _MOST_SECONDS
    found: dict[Any, _Stored] = {}
    weight = 0

    async def turn(pages: Pages) -> bool:
        """Read the next page; return whether older messages may matter."""
        nonlocal weight
        answer = await pages.turn()
        recent = [record for record in answer.records if _sent_at(record) >= since]
        fresh: dict[object, Mapping[str, Any]] = {}
        for record in recent:
            if (identity := _identity(record)) not in found:
                fresh.setdefault(identity, record)
        kept, more = await beside_the_loop(answer.weight, partial(_read_all, read, fresh))
        found.update(kept)
        weight += more
        return not pages.is_over and (bool(recent) or not answer.records)

    async def look_through(most: int) -> tuple[Pages, bool]:
        pages = Pages(partial(_page, evolution, instance, since))
        goes_on = True
        while goes_on:
            if pages.turned >= most or pages.asked >= _MOST_ASKED or weight > _HEAVIEST:
                return pages, False
            if len(pages.passed_over) >= _MOST_PASSED_OVER:
                return pages, False
            if pages.asked and clock() >= ends:
                return pages, False
            goes_on = await turn(pages)
        return pages, True

    pages, complete = await look_through(_MOST_RECORDS)
    if complete and pages.asked > 1:
        await look_through(SIZES[0])
    return _in_order(list(found.values())), pages.passed_over, complete


async def _page(
    evolution: EvolutionClient, instance: Instance, since: datetime, page: int, size: int
) -> MessagePage:
    try:
        async with asyncio.timeout(_PAGE_SECONDS):
            return await evolution.find_messages(
                instance, None, page=page, page_size=size, since=since
            )
    except TimeoutError as error:
        raise EvolutionAway(f"it gave no answer within {_PAGE_SECONDS:.0f} s") from error


def _read_all(
    read: Callable[[Mapping[str, Any]], _Stored], records: Mapping[object, Mapping[str, Any]]
) -> tuple[dict[object, _Stored], int]:
    """Return what is kept of each record, and the size of it all."""
    kept = {identity: read(record) for identity, record in records.items()}
    return kept, sum(each.weight for each in kept.values())


def _identity(record: Mapping[str, Any]) -> object:
    """Return what identifies a message; a message of ours may have two records."""
    key = as_object(record.get("key"))
    wa_id = as_text(key.get("id"))
    if not wa_id:
        return object()  # unique; the record is counted later as unreadable
    return wa_id, key.get("fromMe") is True, as_text(key.get("remoteJid"))


def _in_order(stored: list[_Stored]) -> list[_Stored]:
    stored.reverse()  # so that messages of the same second keep their order
    return sorted(stored, key=lambda each: each.sent_at)


def _sent_at(record: Mapping[str, Any]) -> datetime:
    """Return when the message was sent; now if the record has no time, so it is not left out."""
    moment = as_time(record.get("messageTimestamp"))
    return datetime.now(UTC) if moment is None else datetime.fromisoformat(moment)


def _read(instance: str, record: Mapping[str, Any]) -> _Stored:
    """Return a record's events, or that it is unused or cannot be read."""
    sent_at = _sent_at(record)
    try:
        parsed = parse_webhook(
            instance, {"event": "messages.upsert", "instance": instance, "data": record}
        )
    except NotAnEnvelope:
        return _Stored(sent_at, (), is_failed=True)
    events = [{**event, "fetched": True} for event in parsed.events]
    return _Stored(sent_at, events, is_unused=parsed.ignored is not None)


def _is_new(decision: Decision) -> bool:
    return (
        decision.outcome == "recorded"
        and not decision.duplicate
        and decision.decision not in _KNOWN
    )


def _log_passed_over(record: PassedOver, tenant: TenantInstance, since: datetime) -> None:
    named = f"message {record.wa_id}" if record.wa_id else "a message"
    log_event(
        _log, Action.GAP_REPAIR_FAILED,
        f"gap repair leaves out {named}, number {record.place} from the newest on: {record.why}",
        level=logging.WARNING, tenant_id=tenant.tenant_id, instance=tenant.name,
        since=since.isoformat(),
    )  # fmt: skip


def log_report(report: GapReport, tenant_id: int) -> None:
    """Log what a repair found."""
    log_event(
        _log,
        Action.GAP_REPAIRED,
        f"gap repair: {report.new} new of {report.listed} messages"
        + ("" if report.complete else "; there are more, repair from an earlier time on"),
        level=logging.INFO if report.complete else logging.WARNING,
        tenant_id=tenant_id,
        instance=report.instance,
        since=report.since.isoformat(),
        new=report.new,
        failed=report.failed,
        turns=report.turns,
    )
