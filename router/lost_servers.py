"""Tenants that can reach no Evolution, because EVOLUTION_SERVERS does not name their server.

Said at the start and by /health, with the line to set: who comes from a release where
EVOLUTION_API_KEY was shown to every server shall not have to search.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from router.evolution.servers import Servers, shown_server
from router.logs import Action, log_event
from router.loops import safely
from router.settings import Settings
from router.state.database import Database

_log = logging.getLogger(__name__)
_LIFE = 10.0  # seconds
_BETWEEN_TRIES = 30.0
_NAMED = 20  # servers: the first of them are named, the others counted


class LostServers:
    """Looks for them; what was found holds some seconds, so that /health costs little."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._named = settings.evolution_servers
        self._has_key = settings.evolution_api_key is not None
        self._found: tuple[str, ...] = ()
        self._found_at: float | None = None

    async def told(self) -> tuple[str, ...]:
        """Return a sentence for each server, with its tenants and the cure. Raises StateError."""
        now = time.monotonic()
        if self._found_at is None or now - self._found_at > _LIFE:
            answer = await self._database.call("tenants_elsewhere", {"named": list(self._named)})
            self._found = sentences(answer["servers"], self._named, has_key=self._has_key)
            self._found_at = now
        return self._found

    async def warn(self) -> None:
        """Log them once, as soon as the database answers."""
        failed = "EVOLUTION_SERVERS was not looked at"
        while (told := await safely(self.told, failed)) is None:  # noqa: ASYNC110
            await asyncio.sleep(_BETWEEN_TRIES)
        for line in told:
            log_event(_log, Action.STARTED, line, level=logging.WARNING)


def sentences(
    found: Sequence[dict[str, Any]], named: Sequence[str], *, has_key: bool
) -> tuple[str, ...]:
    """Say what is wrong with each of the servers that the state found, if anything is."""
    servers = Servers.of(named)
    faults = [
        fault
        for each in found
        if (fault := _sentence(each, servers, named, has_key=has_key)) is not None
    ]
    more = len(faults) - _NAMED
    return (*faults[:_NAMED], *([f"and {more} more servers"] if more > 0 else []))


def _sentence(
    each: dict[str, Any], servers: Servers, named: Sequence[str], *, has_key: bool
) -> str | None:
    url: str = each["evo_server_url"]
    names: list[str] = each["instances"]
    more = each["tenants"] - len(names)
    who = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    if (fault := servers.fault_of(url)) is not None:
        return f"{who}: nothing is asked of {shown_server(url)}, for evo_server_url {fault}"
    if each["own_key"] or not has_key or servers.has(url):
        return None
    line = ",".join((*named, shown_server(url)))
    return (
        f"{who}: EVOLUTION_API_KEY is not shown to {shown_server(url)}, for EVOLUTION_SERVERS does"
        f" not name it. Set EVOLUTION_SERVERS={line} if that server is yours, else evo_api_key"
    )
