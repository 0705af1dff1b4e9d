"""Endpoints for an external scheduler; `scripts.auto_resume` and `scripts.prune` do the same."""

import logging
import time
from collections import deque
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader

from router.api.dependencies import TheSettings, TheUpkeep, TheWake
from router.api.models import AutoResumed
from router.configuration.settings import Settings
from router.errors import DatabaseAway
from router.gate.keys import same_secret
from router.http.errors import ErrorBody, Unauthorised
from router.http.part import part
from router.logs.events import Action, log_event
from router.notices.opening import make_untaken
from router.state.calls import pauses, retention
from router.state.calls.retention import Pruned
from router.state.database import Database, Json
from router.tenants.policy import policy

_SECONDS = 20.0  # less than schedulers wait for a response
_PAUSES_A_CALL = 50  # pauses that are ended in one transaction, which locks their sessions
_IN_A_ROW = 3  # unanswered calls for single sessions, after which the database counts as away
_log = logging.getLogger(__name__)
_secret_header = APIKeyHeader(
    name="X-Cron-Secret",
    scheme_name="CronSecret",
    auto_error=False,
    description="CRON_SECRET",
)


def require_cron_secret(
    settings: TheSettings, secret: Annotated[str | None, Security(_secret_header)]
) -> None:
    """Accept a call that has CRON_SECRET. Raises Unauthorised."""
    if settings.cron_secret is None:
        raise Unauthorised(
            "CRON_SECRET is not configured, so this endpoint is closed",
            code="no_cron_secret_configured",
        )
    if not secret or not same_secret(secret, settings.cron_secret):
        raise Unauthorised("X-Cron-Secret is missing or is not CRON_SECRET")


router = part(
    "cron",
    before=[Depends(require_cron_secret)],
    responses={
        401: {"model": ErrorBody, "description": "No secret, or a wrong one"},
        503: {"model": ErrorBody, "description": "The database is away; retry soon"},
    },
)


@router.post("/cron/auto-resume", summary="End all expired pauses")
async def end_expired_pauses(
    database: TheUpkeep, settings: TheSettings, wake: TheWake
) -> AutoResumed:
    """Needs X-Cron-Secret. Recent messages that nobody answered during a pause are answered.

    Runs for about 20 seconds; if the response has `more`, call again.
    """
    resumed = await run_auto_resume(database, settings, seconds=_SECONDS)
    if resumed.turns:
        wake()
    return resumed


@router.post("/cron/prune", summary="Delete or archive expired data")
async def prune_data(database: TheUpkeep, settings: TheSettings) -> Pruned:
    """Needs X-Cron-Secret. Runs for about 20 seconds; if the response has `more`, call again."""
    return await run_prune(database, settings, seconds=_SECONDS)


async def run_auto_resume(database: Database, settings: Settings, *, seconds: float) -> AutoResumed:
    """End expired pauses, some in each call, until `seconds` are over; log how many.

    Raises DatabaseAway; the pauses that were ended until then stay ended.
    """
    rules = policy(settings)
    # First the handoffs that nobody took: their pauses have no end until this decides.
    await make_untaken(settings, database, _nothing, _nothing).look()
    due = await pauses.pauses_over(database, pauses.PausesOver(policy=rules))
    ending = EndingPauses(database, rules)
    ends = time.monotonic() + seconds
    ids = deque(due.session_ids)
    while ids and time.monotonic() < ends:
        await ending.end([ids.popleft() for _ in range(min(_PAUSES_A_CALL, len(ids)))])
    if ending.failed:
        log_event(
            _log, Action.UNEXPECTED, "sessions could not be resumed: they stay paused",
            level=logging.ERROR, session_ids=ending.failed,
        )  # fmt: skip
    log_event(
        _log,
        Action.AUTO_RESUMED,
        f"Auto-resumed {ending.resumed} sessions",
        resumed=ending.resumed,
        turns=ending.turns,
    )
    return AutoResumed(resumed=ending.resumed, turns=ending.turns, more=bool(ids) or due.more)


def _nothing() -> None:
    """Wake nothing: the loops of notices and turns find work by themselves."""


class EndingPauses:
    """Ends pauses, several in each call; if a call gets no answer, each pause alone.

    So a session that fails, or takes too long, does not prevent the end of another pause.
    """

    def __init__(self, database: Database, policy: Json) -> None:
        self._database = database
        self._policy = policy
        self.resumed = 0
        self.turns = 0
        self.failed: list[int] = []
        self._in_a_row = 0

    async def end(self, session_ids: list[int]) -> None:
        """End these pauses. Raises DatabaseAway unless only one of them is the problem."""
        try:
            await self._call(session_ids)
        except DatabaseAway:
            for session_id in session_ids:
                await self._end_alone(session_id)

    async def _end_alone(self, session_id: int) -> None:
        try:
            await self._call([session_id])
        except DatabaseAway:
            self._in_a_row += 1
            if self._in_a_row >= _IN_A_ROW:
                raise
            self.failed.append(session_id)

    async def _call(self, session_ids: list[int]) -> None:
        asked = pauses.AutoResume(policy=self._policy, session_ids=tuple(session_ids))
        ended = await pauses.auto_resume(self._database, asked)
        self.resumed += ended.resumed
        self.turns += ended.turns
        self.failed += ended.failed
        self._in_a_row = 0


async def run_prune(database: Database, settings: Settings, *, seconds: float) -> Pruned:
    """Prune in batches, each a transaction, until nothing is left or `seconds` are over; log it.

    Raises DatabaseAway; what was pruned until then stays pruned.
    """
    asked = retention.Prune(
        events_days=settings.events_retention_days, retention_days=settings.retention_days
    )
    ends = time.monotonic() + seconds
    done = await retention.prune(database, asked)
    while done.more and time.monotonic() < ends:
        batch = await retention.prune(database, asked)
        done = _together(done, batch)
    log_event(_log, Action.PRUNED, "Pruned what is past its time", **done.model_dump())
    return done


def _together(done: Pruned, next_batch: Pruned) -> Pruned:
    """Return the sum of both results; the later one knows whether there is more."""
    counts = done.model_dump(exclude={"more"})
    both = {name: count + getattr(next_batch, name) for name, count in counts.items()}
    return Pruned(**both, more=next_batch.more)
