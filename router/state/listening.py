"""Routers on one database call one another: if one is full, another with a free seat takes over.

PostgreSQL transports the call (NOTIFY). It reaches only connections of PostgreSQL's own protocol,
and none behind a transaction pooler. A router that cannot listen polls every POLL_SECONDS.
"""

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from router.logs.events import Action, log_event
from router.state.address import Address
from router.state.database import Database
from router.state.direct import DirectDatabase

TURNS = "hybridflow_turns"
CHANGES = "hybridflow_changes"
_AGAIN = 5.0  # seconds before a lost connection is opened again
_CONNECT_TIMEOUT = 5.0
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_log = logging.getLogger(__name__)


def can_hear(database: Database) -> bool:
    """Whether routers can hear one another over this database."""
    return _address_of(database) is not None


def _address_of(database: Database) -> Address | None:
    """Return the address for a connection that can listen; None: there is none."""
    if not isinstance(database, DirectDatabase) or database.address.pools_transactions:
        return None
    return database.address


class Listening:
    """Hears the calls of other routers on its own connection."""

    def __init__(
        self, database: Database, called: Callable[[], None], told: Callable[[str], None]
    ) -> None:
        """`called` is called if turns wait; `told` gets messages about changes."""
        self._address = _address_of(database)
        self._called = called
        self._told = told

    async def run(self) -> None:
        """Listen until cancelled; return at once if listening is impossible."""
        if self._address is None:
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
            await connection.add_listener(TURNS, lambda *_: self._called())
            await connection.add_listener(CHANGES, lambda *said: self._told(str(said[-1])))
            self._called()  # calls may have been missed meanwhile
            await ended.wait()
        finally:
            connection.terminate()
