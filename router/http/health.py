"""`GET /health` for people and monitors, `/health/live` for orchestrators; costs no LLM token."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol

from fastapi import Depends, Response
from pydantic import BaseModel

from router import __version__
from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.errors import StateError
from router.http.accounts import judge_accounts
from router.http.part import part
from router.http.services import given
from router.http.unanswered import judge_outages
from router.llm.standing import Known
from router.outbound.pools import TenantPools
from router.sharing.at_once import Shared
from router.state.calls.health import check_database, count_outages, count_undelivered
from router.state.database import Database
from router.state.schema_version import schema_advice, schema_fault
from router.tenants.lost_servers import LostServers

router = part("health")
_PATIENCE = 3.0  # seconds that the database has to answer
_BETWEEN_LOOKS = 0.2  # seconds, because anybody may ask as often as they like


class Workflows(Protocol):
    """n8n, as the health check sees it."""

    async def is_away(self) -> bool:
        """Whether n8n would accept no turn now."""

    def fails(self) -> str | None:
        """Return a text about the flows that keep failing, or None."""


class Accounts(Protocol):
    """The LLM accounts, as the health check sees them."""

    def of_deployment(self) -> Mapping[str, Known | None]:
        """Return at once the known state of each deployment key's account, by provider."""


class Check(BaseModel):
    """One thing that must work."""

    status: Literal["ok", "error"]
    message: str


class Health(BaseModel):
    """Whether HybridFlow can do its work now."""

    ok: bool
    version: str
    timestamp: datetime
    checks: dict[str, Check]


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What is checked; `n8n` is None if it is not used, `demo` if there is no demo."""

    settings: Settings
    database: Database
    pools: TenantPools
    lost_servers: LostServers
    accounts: Accounts
    n8n: Workflows | None
    demo: Demo | None = None


class HealthChecks:
    """Checks everything, once for all calls that come meanwhile, because anybody may call."""

    def __init__(self, looked_at: LookedAt) -> None:
        self._checks = Shared(lambda: _look(looked_at), _BETWEEN_LOOKS)

    async def get(self) -> dict[str, Check]:
        """Return the result of every check, by name."""
        return await self._checks.get()


@router.get("/health", summary="Check that HybridFlow can work", responses={503: {"model": Health}})
async def get_health(
    checks: Annotated[HealthChecks, Depends(given(HealthChecks))], response: Response
) -> Health:
    """200 if every check is ok, else 503 with what is wrong."""
    found = await checks.get()
    ok = all(check.status == "ok" for check in found.values())
    response.status_code = 200 if ok else 503
    return Health(ok=ok, version=__version__, timestamp=datetime.now(UTC), checks=found)


@router.get("/health/live", summary="Check that the process is alive")
async def get_liveness() -> dict[str, bool]:
    """Always 200 while the process serves requests, even if everything else is away."""
    return {"ok": True}


async def _look(at: LookedAt) -> dict[str, Check]:
    checks = {
        "database": await _check_database(at.database, at.settings),
        "llm": _check_llm(at.settings, at.accounts, at.demo),
        "connections": _check_connections(at.pools),
    }
    if checks["database"].status == "ok":
        checks["delivery"] = await _check_delivery(at.database)
        if answers := await _check_answers(at.database):
            checks["answers"] = answers
        if lost := await _lost_servers(at.lost_servers):
            checks["evolution_servers"] = lost
    if at.demo is not None:
        checks["demo"] = Check(status="ok", message=at.demo.told)
    if at.n8n is not None:
        checks["n8n"] = await _check_n8n(at.n8n, at.settings)
    return checks


async def _check_database(database: Database, settings: Settings) -> Check:
    name = "Supabase" if settings.supabase_url else "PostgreSQL"
    try:
        async with asyncio.timeout(_PATIENCE):
            checked = await check_database(database)
    except TimeoutError:
        return Check(status="error", message=f"{name} did not answer within {_PATIENCE:.0f} s")
    except StateError as error:
        return Check(status="error", message=str(error))
    if fault := schema_fault(checked):
        return Check(status="error", message=fault)
    advice = schema_advice(checked)
    return Check(status="ok", message=f"Connected to {name}" + (f"; {advice}" if advice else ""))


async def _check_delivery(database: Database) -> Check:
    """Warn if WhatsApp refuses replies; still ok, because that is about single tenants."""
    try:
        async with asyncio.timeout(_PATIENCE):
            tenants = (await count_undelivered(database)).tenants
    except (TimeoutError, StateError) as error:
        return Check(status="ok", message=f"not known: {error!r}")
    if tenants == 0:
        return Check(status="ok", message="no tenant's replies fail in a row")
    who = "1 tenant" if tenants == 1 else f"{tenants} tenants"
    return Check(
        status="ok",
        message=f"warning: WhatsApp does not deliver the replies of {who};"
        " GET /api/instances/{name}/test-webhook says more",
    )


async def _check_answers(database: Database) -> Check | None:
    """Return None if all is well."""
    try:
        async with asyncio.timeout(_PATIENCE):
            counted = await count_outages(database)
    except (TimeoutError, StateError) as error:
        return Check(status="ok", message=f"not known: {error!r}")
    judged = judge_outages(counted.causes)
    return None if judged is None else Check(status=judged.status, message=judged.message)


async def _lost_servers(servers: LostServers) -> Check | None:
    """Return None if all is well. The check is ok even if not, because other tenants are served."""
    try:
        async with asyncio.timeout(_PATIENCE):
            told = await servers.told_to_anybody()
    except (TimeoutError, StateError) as error:
        return Check(status="ok", message=f"not known: {error!r}")
    return Check(status="ok", message=f"warning: {told}") if told else None


def _check_llm(settings: Settings, accounts: Accounts, demo: Demo | None) -> Check:
    if demo is not None and demo.llm_url is not None:
        return Check(status="ok", message="demo: the LLM is played, and answers for no real tenant")
    if not _has_key(settings):
        variable = f"{settings.llm_provider.upper()}_API_KEY"
        return Check(status="error", message=f"no key for {settings.llm_provider}: set {variable}")
    judged = judge_accounts(settings.llm_provider, accounts.of_deployment())
    return Check(status=judged.status, message=judged.message)


def _has_key(settings: Settings) -> bool:
    keys = {"anthropic": settings.anthropic_api_key, "openai": settings.openai_api_key}
    return keys[settings.llm_provider] is not None


def _check_connections(pools: TenantPools) -> Check:
    if faults := "; ".join(pools.exhausted()):
        return Check(status="error", message=f"{faults}: what comes now has to wait")
    return Check(status="ok", message="There are free connections to Evolution")


async def _check_n8n(n8n: Workflows, settings: Settings) -> Check:
    """Check n8n. It is an error that n8n is away only if turns wait for it."""
    if await n8n.is_away():
        if settings.n8n_fallback == "queue":
            why = "N8N_FALLBACK=queue"
        elif not _has_key(settings):
            why = f"the Python handlers have no key for {settings.llm_provider}"
        else:
            return Check(status="ok", message="n8n is away: the Python handlers answer")
        return Check(status="error", message=f"n8n is away: turns wait for it ({why})")
    # Ok even if a flow fails: one tenant's flow must not make the deployment unhealthy.
    failing = n8n.fails()
    warning = "" if failing is None else f"; warning: {failing}"
    return Check(status="ok", message=f"n8n handles the turns{warning}")
