"""`POST /cron/auto-resume`, for a scheduler outside; `scripts.auto_resume` does the same."""

import logging
from typing import Annotated

from fastapi import APIRouter, Security
from fastapi.security import APIKeyHeader

from router.http_errors import Unauthorised
from router.logs import Action, log_event
from router.operators.dependencies import TheSettings, TheState, TheWake
from router.operators.keys import same_secret
from router.operators.models import AutoResumed
from router.policy import policy
from router.settings import Settings
from router.state.database import Database

router = APIRouter(tags=["cron"])
_log = logging.getLogger(__name__)
_secret_header = APIKeyHeader(
    name="X-Cron-Secret",
    scheme_name="CronSecret",
    auto_error=False,
    description="CRON_SECRET",
)


@router.post("/cron/auto-resume", summary="End every pause that has run out")
async def auto_resume(
    database: TheState,
    settings: TheSettings,
    wake: TheWake,
    secret: Annotated[str | None, Security(_secret_header)],
) -> AutoResumed:
    """Needs X-Cron-Secret. What nobody answered during a pause is answered if it is recent."""
    if settings.cron_secret is None:
        raise Unauthorised(
            "CRON_SECRET is not configured, so this endpoint is closed",
            code="no_cron_secret_configured",
        )
    if not secret or not same_secret(secret, settings.cron_secret):
        raise Unauthorised("X-Cron-Secret is missing or is not CRON_SECRET")
    resumed = await run_auto_resume(database, settings)
    if resumed.turns:
        wake()
    return resumed


async def run_auto_resume(database: Database, settings: Settings) -> AutoResumed:
    """End every pause that has run out, once, and log how many. Raises DatabaseAway."""
    answer = await database.call("auto_resume", {"policy": policy(settings)})
    resumed = AutoResumed.model_validate(answer)
    log_event(
        _log,
        Action.AUTO_RESUMED,
        f"Auto-resumed {resumed.resumed} sessions",
        resumed=resumed.resumed,
        turns=resumed.turns,
    )
    return resumed
