"""Plays the demo business while there is no real tenant."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from router.configuration.settings import Settings
from router.errors import Conflict, StateError
from router.state.calls.demo import end_demo, look_at_demo
from router.state.database import Database
from router.state.direct import DirectDatabase
from router.tenants.demo import IS_PLAYED
from scripts.demo_business.stage import Stage
from scripts.demo_business.watching import keep_running, starts_router

_BETWEEN_LOOKS = 2.0  # seconds between looks for a real tenant
OVER = "A tenant is there: the demo business is gone, and HybridFlow serves for real from now on."


@dataclass(frozen=True, slots=True)
class Playing:
    """What the demo uses: the embedded database, the socket to serve on, the variables."""

    dsn: str
    listener: socket.socket
    settings: Settings
    made: Mapping[str, str]
    tell: Callable[[], None]


class DemoIsPlayed(Exception):
    """Another program plays the demo. A second router would take its turns, and has no LLM."""


async def refuse_beside_demo(dsn: str, *, would_play: bool) -> None:
    """Raise DemoIsPlayed if another program plays, or is about to and `would_play` is set."""
    database = await DirectDatabase.connect(dsn, size=1)
    try:
        found = await look_at_demo(database)
    finally:
        await database.close()
    if not found.has_tenants and (would_play or found.tenant_id is not None):
        raise DemoIsPlayed(IS_PLAYED)


async def is_wanted(dsn: str) -> bool:
    """Delete an earlier demo from the database. Returns whether there is no real tenant yet."""
    database = await DirectDatabase.connect(dsn, size=1)
    try:
        await end_demo(database)
        return not (await look_at_demo(database)).has_tenants
    finally:
        await database.close()


async def play(playing: Playing, played: Stage) -> int | None:
    """Play until stopped. Returns the exit code, or None once there is a real tenant."""
    database = await DirectDatabase.connect(playing.dsn, size=1)
    try:
        try:
            await played.open_shop(database, playing.settings)
        except Conflict:
            return None  # a real tenant was just created
        playing.tell()
        env = {**playing.made, **played.variables}
        start = starts_router(playing.listener, played.demo, env)
        return await keep_running(start, _until_real(database))
    finally:
        with suppress(StateError):  # then the next start deletes the demo
            await end_demo(database)
        await database.close()


async def _until_real(database: Database) -> None:
    """Wait until there is a real tenant."""
    while True:
        try:
            if (await look_at_demo(database)).has_tenants:
                return
        except StateError:
            pass  # the database is away: nobody can create a tenant then
        await asyncio.sleep(_BETWEEN_LOOKS)
