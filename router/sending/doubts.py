"""Settles sends in doubt that belong to no turn: notices, and what humans write via HybridFlow.

A turn's sends in doubt are settled by its next attempt, because its session waits for them. The
others are settled here, from time to time, by any router.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from router.errors import DatabaseAway, StateError
from router.evolution.errors import EvolutionError
from router.logs.events import Action, log_event
from router.running.loops import Loop, safely
from router.sending.evidence import Doubt, Finding
from router.sending.looking import GIVE_UP_HOURS, Looking, Verdict, Whereabouts
from router.sending.outbox import SendTerms
from router.sending.outcomes import ID_TAKEN
from router.state.calls.sends import (
    ClaimDoubts,
    ClaimedDoubt,
    SettleDoubt,
    claim_doubts,
    settle_doubt,
)
from router.state.database import Database
from router.tenants.instance import InstanceKeys, TenantLine

_log = logging.getLogger(__name__)
_LIMIT = 20
_LEASE = 60.0  # seconds in which a router settles what it claimed
_KNOWN_SINCE = timedelta(days=1)  # Evolution should show the chat's known messages of this time
_CHECK_AGAIN = 30.0
_LONGEST_ROUND = 40.0  # seconds; within the lease


@dataclass(frozen=True, slots=True)
class DoubtLimits:
    """How doubts are settled; times in seconds.

    `late`: see SendTimes.
    """

    late: float
    poll: float


class DoubtSettler:
    """The loop between the state and Evolution's records."""

    def __init__(
        self,
        database: Database,
        looking: Looking,
        keys: InstanceKeys,
        terms: SendTerms,
        limits: DoubtLimits,
    ) -> None:
        self._database = database
        self._looking = looking
        self._keys = keys
        self._terms = terms
        self._limits = limits
        self._loop = Loop(self.settle_due, pause=limits.poll, failed="doubts could not be settled")

    def wake(self) -> None:
        """Look now: there may be a doubt to settle."""
        self._loop.wake()

    async def run(self) -> None:
        """Look until `stop`."""
        await self._loop.run()

    async def stop(self) -> None:
        """Stop looking; what was claimed becomes due again when its lease ends."""
        self._loop.stop()

    async def settle_due(self) -> float:
        """Settle what is due. Returns the seconds until the next look."""
        asked = ClaimDoubts(
            limit=_LIMIT, lease_seconds=_LEASE, after_seconds=self._terms.times.lease
        )
        claimed = await claim_doubts(self._database, asked)
        sends = sorted(
            claimed.sends, key=lambda send: (send.tenant_id, send.session_id, send.send_began_at)
        )
        tenants = groupby(sends, key=lambda send: send.tenant_id)
        await asyncio.gather(*(self._settle_all(list(few), claimed.now) for _, few in tenants))
        if claimed.next_due_at is None:
            return self._limits.poll
        wait = (claimed.next_due_at - claimed.now).total_seconds()
        return min(max(wait, 1.0), self._limits.poll)

    async def _settle_all(self, sends: Sequence[ClaimedDoubt], now: datetime) -> None:
        """Settle the doubts of one tenant. If its Evolution hangs, the rest waits for its lease.

        `now` is when they were claimed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_ROUND):
                line = self._keys.line(sends[0])
                for _, of_session in groupby(sends, key=lambda send: send.session_id):
                    # A doubt that cannot be settled does not hold up the others.
                    settle = partial(self._settle, list(of_session), line, now)
                    await safely(settle, "a doubt could not be settled")

    async def _settle(self, sends: Sequence[ClaimedDoubt], line: TenantLine, now: datetime) -> None:
        """Settle the doubts of one session."""
        verdict = await self._look(sends, line, now)
        for send, finding in zip(sends, verdict.findings, strict=True):
            try:
                asked = SettleDoubt(
                    tenant_id=send.tenant_id,
                    message_id=send.message_id,
                    outcome=finding.outcome,
                    wa_id=finding.wa_id,
                    check_after=verdict.check_after,
                    give_up_hours=GIVE_UP_HOURS,
                    late_seconds=self._limits.late,
                    policy=self._terms.policy,
                )
                answer = await settle_doubt(self._database, asked)
                detail = ID_TAKEN if answer.id_taken else finding.detail
            except DatabaseAway:
                raise
            except StateError as error:
                finding = Finding("unknown", detail=str(error))  # noqa: PLW2901 - erased meanwhile
                detail = finding.detail
            log_event(
                _log, Action.SEND_SETTLED, f"send in doubt: {finding.outcome}",
                detail=detail, tenant_id=send.tenant_id, message_id=send.message_id,
            )  # fmt: skip

    async def _look(
        self, sends: Sequence[ClaimedDoubt], line: TenantLine, now: datetime
    ) -> Verdict:
        first = sends[0]
        try:
            instance = line.instance()
        except EvolutionError as error:
            unknown = Finding("unknown", detail=str(error))
            return Verdict((unknown,) * len(sends), _CHECK_AGAIN)
        since = min(send.send_began_at for send in sends) - _KNOWN_SINCE
        where = Whereabouts(
            instance=instance,
            jids=first.jids,
            ours=frozenset().union(*(send.ours for send in sends)),
            theirs=frozenset().union(*(send.theirs for send in sends)),
            since=since,
            now=now,
        )
        return await self._looking.look([_doubt(send) for send in sends], where)


def _doubt(send: ClaimedDoubt) -> Doubt:
    """Return the send in the form in which evidence is looked for."""
    return Doubt(
        send.kind, send.body, send.send_began_at, send.told_as, send.chosen_id,
        send.upload_seconds or 0.0,
    )  # fmt: skip
