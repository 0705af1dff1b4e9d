"""Endpoints for an external scheduler; `scripts.auto_resume` and `scripts.prune` do the same."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader

from router.api.dependencies import TheSettings, TheUpkeep, TheWake
from router.gate.keys import same_secret
from router.http.errors import ErrorBody
from router.http.part import part
from router.http.unauthorised import Unauthorised
from router.state.calls.retention import Pruned
from router.upkeep.ending_pauses import AutoResumed, run_auto_resume
from router.upkeep.pruning import run_prune

_SECONDS = 20.0  # less than schedulers wait for a response
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
