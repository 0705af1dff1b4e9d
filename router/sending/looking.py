"""Looks for sends in doubt among the messages that Evolution has stored."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.errors import EvolutionError
from router.evolution.exchange import Instance
from router.evolution.pages import SIZES, Pages
from router.outbound.answers import beside_the_loop
from router.sending.evidence import Chat, Doubt, Finding, judge_sends
from router.sharing.shares import Shares

GIVE_UP_HOURS = 24
_LOOK_BACK = timedelta(minutes=5)
_MOST_RECORDS = 20 * SIZES[0]  # of one JID
_MOST_ASKED = 60  # requests for these records; large records come a few at a time
_HEAVIEST = 32 * 1024 * 1024  # bytes of memory for the records of one look
_MOST_READ = 64 * 1024 * 1024  # bytes received, including responses that were too large
_AT_ONCE = 20  # looks of all tenants at once; one alone has fewer
_LONGEST_LOOK = 120.0  # seconds for all pages of a look
_WAIT = 30.0  # seconds to wait until a look may begin
_TENANT = 0.25  # times the free places: one tenant alone has four
_AWAY = 30.0  # seconds until the next look if Evolution is away, or nothing new is expected
_LEAST, _MOST = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a send in doubt would be: the chat under all its JIDs, and what is known of it.

    `since` is the time of the oldest message that the chat should contain. `now` is the database's
    time before the look, as the begin of a send is: the clock of this machine may be minutes ahead.
    """

    instance: Instance
    jids: Sequence[str]
    ours: frozenset[str]
    theirs: frozenset[str]
    since: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The finding for each send, and the seconds until the next look for the unknown ones."""

    findings: tuple[Finding, ...]
    check_after: float


class Looking:
    """Asks Evolution. `settle_after`: seconds after its begin in which a small send may show up."""

    def __init__(self, evolution: EvolutionClient, settle_after: float) -> None:
        self._evolution = evolution
        self._settle_after = timedelta(seconds=settle_after)
        self._looks = Shares(_AT_ONCE)

    async def look(self, doubts: Sequence[Doubt], where: Whereabouts) -> Verdict:
        """Return the finding for each of `doubts`, in their order."""
        try:
            place = await self._looks.take({where.instance.name: _TENANT}, _WAIT)
        except TimeoutError:
            busy = Finding("unknown", detail="other chats of the tenant are being looked through")
            return Verdict((busy,) * len(doubts), _AWAY)
        try:
            async with asyncio.timeout(_LONGEST_LOOK):
                return await self._look(doubts, where)
        except TimeoutError:
            slow = Finding("unknown", detail="Evolution takes too long to show the chat")
            return Verdict((slow,) * len(doubts), _AWAY)
        finally:
            place.give_back()

    async def _look(self, doubts: Sequence[Doubt], where: Whereabouts) -> Verdict:
        try:
            stored = await self._stored(where)
        except EvolutionError as error:
            away = Finding("unknown", detail=f"Evolution cannot be asked: {error}")
            return Verdict((away,) * len(doubts), _AWAY)
        chat = Chat(stored.records, where.ours, where.theirs, stored.is_complete)
        # The time before the first page: what comes to the phone while the pages are read, or while
        # this process stands still, is on none of them.
        judge = partial(judge_sends, doubts, chat, where.now, self._settle_after)
        findings = await beside_the_loop(stored.weight, judge)
        if stored.is_too_much:
            return Verdict(findings, _AWAY)
        last = max(doubt.late_at(self._settle_after) for doubt in doubts)
        remaining = (last - where.now).total_seconds()
        return Verdict(findings, max(_LEAST, min(remaining, _MOST)) if remaining > 0 else _AWAY)

    async def _stored(self, where: Whereabouts) -> "_Stored":
        """Return what is stored under every JID of the chat."""
        records: list[Mapping[str, Any]] = []
        complete = True
        weight = in_vain = 0
        for jid in where.jids:
            pages = Pages(partial(self._page, where, jid))
            while not pages.is_over and pages.turned < _MOST_RECORDS and pages.asked < _MOST_ASKED:
                if weight > _HEAVIEST or weight + in_vain + pages.in_vain > _MOST_READ:
                    return _Stored(records, weight, is_complete=False, is_too_much=True)
                answer = await pages.turn()
                records.extend(answer.records)
                weight += answer.weight
            in_vain += pages.in_vain
            complete = complete and pages.is_over and not pages.passed_over
        return _Stored(records, weight, is_complete=complete)

    async def _page(self, where: Whereabouts, jid: str, page: int, size: int) -> MessagePage:
        return await self._evolution.find_messages(
            where.instance, jid, page=page, page_size=size, since=where.since - _LOOK_BACK
        )


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was read of a chat, whether that is all, and whether the rest is too much to read."""

    records: Sequence[Mapping[str, Any]]
    weight: int
    is_complete: bool
    is_too_much: bool = False
