"""Tenants that cannot reach their Evolution, because EVOLUTION_SERVERS does not name their server.

This is for deployments that upgrade from a release that sent EVOLUTION_API_KEY to every server. The
log reports it at the start, with the line to set. /health, which anybody may call, names the
instances but no URL.
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
_NAMED = 20  # this many servers, or instances, are named; the others are counted


@dataclass(frozen=True, slots=True)
class Lost:
    """The tenants of one server (the first ones by name), what is wrong with it, and the fix."""

    tenants: int
    names: tuple[str, ...]
    line: str


class LostServers:
    """Looks for such tenants; a result is cached for some seconds, so /health costs little."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._named = settings.evolution_servers
        self._has_key = settings.evolution_api_key is not None
        self._found: tuple[Lost, ...] = ()
        self._found_at: float | None = None

    async def told_to_anybody(self) -> str | None:
        """Return a text with their number and names; None: there are none. Raises StateError."""
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
        """Log such tenants once, as soon as the database answers."""
        failed = "EVOLUTION_SERVERS was not looked at"
        while (found := await safely(self._look, failed)) is None:  # noqa: ASYNC110
            await asyncio.sleep(_BETWEEN_TRIES)
        for line in sentences(found):
            log_event(_log, Action.STARTED, line, level=logging.WARNING)


def lost_tenants(
    found: Sequence[OtherServer], named: Sequence[str], *, has_key: bool
) -> tuple[Lost, ...]:
    """Return those of the servers with which something is wrong. Pure."""
    servers = Servers.of(named)
    return tuple(
        Lost(each.tenants, tuple(map(shown_instance, each.instances)), line)
        for each in found
        if (line := _sentence(each, servers, named, has_key=has_key)) is not None
    )


def sentences(lost: Sequence[Lost]) -> tuple[str, ...]:
    """Return a sentence for the log for each server, with its tenants and the fix."""
    more = len(lost) - _NAMED
    lines = (each.line for each in lost[:_NAMED])
    return (*lines, *([f"and {more} more servers"] if more > 0 else []))


def summary(lost: Sequence[Lost]) -> str | None:
    """Return the text that anybody may read: the instances, but no URL."""
    tenants = sum(each.tenants for each in lost)
    if tenants == 0:
        return None
    names = [name for each in lost for name in each.names][:_NAMED]
    who = "1 tenant" if tenants == 1 else f"{tenants} tenants"
    return (
        f"{who} cannot reach Evolution: {_listed(names, tenants)};"
        " the log of the start and GET /api/instances/{name}/test-webhook say why, with the fix"
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
        return f"{who}: no request is sent to {shown_server(url)}, because evo_server_url {fault}"
    if each.own_key or not has_key or servers.has(url):
        return None
    line = ",".join((*named, shown_server(url)))
    return (
        f"{who}: EVOLUTION_API_KEY is not sent to {shown_server(url)}: EVOLUTION_SERVERS does"
        f" not name it. Set EVOLUTION_SERVERS={line} if that server is yours, else evo_api_key"
    )
