"""Tenants that can reach no Evolution, because EVOLUTION_SERVERS does not name their server.

The log says so at the start, with the line to set, for deployments that come from a release where
EVOLUTION_API_KEY was shown to every server. /health, which anybody may call, names the instances
but no URL.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from router.configuration.servers import Servers, shown_server
from router.configuration.settings import Settings
from router.logs.events import Action, log_event
from router.logs.people import shown_instance
from router.running.loops import safely
from router.state.calls.tenants import OtherServer, TenantsElsewhere, tenants_elsewhere
from router.state.database import Database

_log = logging.getLogger(__name__)
_LIFE = 10.0  # seconds
_BETWEEN_TRIES = 30.0
_NAMED = 20  # servers, or instances: the first of them are named, the others counted


@dataclass(frozen=True, slots=True)
class Lost:
    """The tenants of one server, the first of them by name, and what is wrong, with the fix."""

    tenants: int
    names: tuple[str, ...]
    line: str


class LostServers:
    """Looks for them; the result is cached for some seconds, so that /health costs little."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._named = settings.evolution_servers
        self._has_key = settings.evolution_api_key is not None
        self._found: tuple[Lost, ...] = ()
        self._found_at: float | None = None

    async def told_to_anybody(self) -> str | None:
        """Return how many tenants there are, and their names; None: none. Raises StateError."""
        return summary(await self._look())

    async def _look(self) -> tuple[Lost, ...]:
        now = time.monotonic()
        if self._found_at is None or now - self._found_at > _LIFE:
            asked = TenantsElsewhere(named=self._named)
            elsewhere = await tenants_elsewhere(self._database, asked)
            self._found = lost_tenants(elsewhere.servers, self._named, has_key=self._has_key)
            self._found_at = now
        return self._found

    async def warn(self) -> None:
        """Log them once, as soon as the database answers."""
        failed = "EVOLUTION_SERVERS was not looked at"
        while (found := await safely(self._look, failed)) is None:  # noqa: ASYNC110
            await asyncio.sleep(_BETWEEN_TRIES)
        for line in sentences(found):
            log_event(_log, Action.STARTED, line, level=logging.WARNING)


def lost_tenants(
    found: Sequence[OtherServer], named: Sequence[str], *, has_key: bool
) -> tuple[Lost, ...]:
    """Say what is wrong with each of the state's servers, if anything is."""
    servers = Servers.of(named)
    return tuple(
        Lost(each.tenants, tuple(map(shown_instance, each.instances)), line)
        for each in found
        if (line := _sentence(each, servers, named, has_key=has_key)) is not None
    )


def sentences(lost: Sequence[Lost]) -> tuple[str, ...]:
    """Return a sentence for each server, with its tenants and the fix: for the log."""
    more = len(lost) - _NAMED
    lines = (each.line for each in lost[:_NAMED])
    return (*lines, *([f"and {more} more servers"] if more > 0 else []))


def summary(lost: Sequence[Lost]) -> str | None:
    """Return what anybody may know: which instances, but no URL."""
    tenants = sum(each.tenants for each in lost)
    if tenants == 0:
        return None
    names = [name for each in lost for name in each.names][:_NAMED]
    who = "1 tenant" if tenants == 1 else f"{tenants} tenants"
    return (
        f"{who} can reach no Evolution: {_listed(names, tenants)};"
        " the log of the start and GET /api/instances/{name}/test-webhook say why, with the cure"
    )


def _listed(names: Sequence[str], tenants: int) -> str:
    more = tenants - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _sentence(
    each: OtherServer, servers: Servers, named: Sequence[str], *, has_key: bool
) -> str | None:
    url = each.evo_server_url
    who = _listed([shown_instance(name) for name in each.instances], each.tenants)
    if (fault := servers.fault_of(url)) is not None:
        return f"{who}: nothing is asked of {shown_server(url)}, for evo_server_url {fault}"
    if each.own_key or not has_key or servers.has(url):
        return None
    line = ",".join((*named, shown_server(url)))
    return (
        f"{who}: EVOLUTION_API_KEY is not shown to {shown_server(url)}, for EVOLUTION_SERVERS does"
        f" not name it. Set EVOLUTION_SERVERS={line} if that server is yours, else evo_api_key"
    )
