"""What a scheduler outside calls; `scripts.auto_resume` and `scripts.prune` do the same."""

import logging
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Security
from fastapi.security import APIKeyHeader

from router.http_errors import Unauthorised
from router.logs import Action, log_event
from router.operators.dependencies import TheSettings, TheUpkeep, TheWake
from router.operators.keys import same_secret
from router.operators.models import AutoResumed, Pruned
from router.policy import policy
from router.settings import Settings
from router.state.database import Database

_PRUNE_SECONDS = 20.0  # within what schedulers wait for an answer
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
    """Let in who shows CRON_SECRET. Raises Unauthorised."""
    if settings.cron_secret is None:
        raise Unauthorised(
            "CRON_SECRET is not configured, so this endpoint is closed",
            code="no_cron_secret_configured",
        )
    if not secret or not same_secret(secret, settings.cron_secret):
        raise Unauthorised("X-Cron-Secret is missing or is not CRON_SECRET")


router = APIRouter(tags=["cron"], dependencies=[Depends(require_cron_secret)])


@router.post("/cron/auto-resume", summary="End every pause that has run out")
async def auto_resume(database: TheUpkeep, settings: TheSettings, wake: TheWake) -> AutoResumed:
    """Needs X-Cron-Secret. What nobody answered during a pause is answered if it is recent."""
    resumed = await run_auto_resume(database, settings)
    if resumed.turns:
        wake()
    return resumed


@router.post("/cron/prune", summary="Delete or archive what is past its time")
async def prune(database: TheUpkeep, settings: TheSettings) -> Pruned:
    """Needs X-Cron-Secret. Ends after some 20 seconds; with `more`, call it again."""
    return await run_prune(database, settings, seconds=_PRUNE_SECONDS)


async def run_auto_resume(database: Database, settings: Settings) -> AutoResumed:
    """End every pause that has run out, once, and log how many. Raises DatabaseAway."""
    answer = await database.call("auto_resume", {"policy": policy(settings)})
    resumed = AutoResumed.model_validate(answer)
    if failed := answer.get("failed"):
        log_event(
            _log, Action.UNEXPECTED, "sessions could not be resumed: they stay paused",
            level=logging.ERROR, session_ids=failed,
        )  # fmt: skip
    log_event(
        _log,
        Action.AUTO_RESUMED,
        f"Auto-resumed {resumed.resumed} sessions",
        resumed=resumed.resumed,
        turns=resumed.turns,
    )
    return resumed


async def run_prune(database: Database, settings: Settings, *, seconds: float) -> Pruned:
    """Prune in batches, each a transaction, until nothing is left or `seconds` are over; log it.

    Raises DatabaseAway; what was pruned until then stays pruned.
    """
    argument = {
        "events_days": settings.events_retention_days,
        "retention_days": settings.retention_days,
    }
    ends = time.monotonic() + seconds
    done = Pruned.model_validate(await database.call("prune", argument))
    while done.more and time.monotonic() < ends:
        batch = Pruned.model_validate(await database.call("prune", argument))
        done = done.plus(batch)
    log_event(_log, Action.PRUNED, "Pruned what is past its time", **done.model_dump())
    return done
