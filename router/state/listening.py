"""Routers on one database that hear one another: a full one calls, and one with a free place comes.

PostgreSQL carries the call (NOTIFY). It reaches connections of its own protocol only, and none
behind a pooler of transactions; a router that cannot listen polls every POLL_SECONDS.
"""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from router.logs.events import Action, log_event
from router.state.database import Database
from router.state.direct import DirectDatabase

CHANNEL = "hybridflow_turns"
_AGAIN = 5.0  # seconds until a connection that was lost is made again
_CONNECT_TIMEOUT = 5.0
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_log = logging.getLogger(__name__)


class Listening:
    """Hears the calls of other routers on a connection of its own."""

    def __init__(self, database: Database, called: Callable[[], None]) -> None:
        self._address = database.address if isinstance(database, DirectDatabase) else None
        self._called = called

    async def run(self) -> None:
        """Hear until it is cancelled; return at once where nothing can be heard."""
        if self._address is None or self._address.pools_transactions:
            return
        while True:
            try:
                await self._hear(self._address.dsn)
            except _LOST as error:
                said = f"calls of other routers are not heard: {type(error).__name__}"
                log_event(_log, Action.DATABASE_AWAY, said, level=logging.DEBUG)
            await asyncio.sleep(_AGAIN)

    async def _hear(self, dsn: str) -> None:
        ended = asyncio.Event()
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT)
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, lambda *_: self._called())
            self._called()  # for what was missed meanwhile
            await ended.wait()
        finally:
            connection.terminate()
