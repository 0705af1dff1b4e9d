"""Calls over PostgreSQL's own protocol: DATABASE_URL and the embedded server."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Self

import asyncpg
import orjson

from router.errors import DatabaseAway, DatabaseTooSlow
from router.state.address import Address
from router.state.database import Json
from router.state.failures import fault, in_log, is_deadlock, meaning, unstorable
from router.state.sayings import Sayings

_CALL_TIMEOUT = 15.0
_CONNECT_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 1.0
_STATEMENTS = 100  # prepared statements that a connection keeps
# What asyncpg raises, besides PostgreSQL's errors, if the server is killed; which one is chance.
_UNREACHABLE = (ConnectionRefusedError, FileNotFoundError, socket.gaierror)
_LOST = (OSError, EOFError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_FATAL = ("FATAL", "PANIC")  # with these errors the server closes the connection
_LOST_STATEMENT = ("26000", "42P05")  # a prepared statement is missing, or exists already


class DirectDatabase:
    """A pool of direct connections (asyncpg)."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", address: Address) -> None:
        self.address = address
        self._pool = pool
        self.connections = pool.get_max_size()
        self._sayings = Sayings()

    @classmethod
    async def connect(cls, dsn: str, *, size: int = 10) -> Self:
        """Make the pool. It connects at the first call.

        So a router can start while its database is away, and report the problem.
        """
        address = Address.of(dsn)
        pool = await asyncpg.create_pool(
            address.dsn,
            min_size=0,
            max_size=size,
            init=_speak_json,
            reset=_keep_session,
            statement_cache_size=0 if address.pools_transactions else _STATEMENTS,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=_CALL_TIMEOUT,
            max_inactive_connection_lifetime=0,  # never closed: a connection keeps its plans
        )
        return cls(pool, address)

    async def close(self) -> None:
        """Close all connections, after a short wait for calls under way."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=_CLOSE_TIMEOUT)
        except TimeoutError:
            self._pool.terminate()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`."""
        for last_try in (False, False, True):
            try:
                result = await self._pool.fetchval(f"select public.{function}($1)", argument)
            except asyncpg.PostgresError as error:
                if is_deadlock(error.sqlstate) and not last_try:
                    continue
                # Not "from error": the error's text contains DETAIL, which a traceback would print.
                raise self._translated(error, function) from None
            except TimeoutError as error:
                raise DatabaseTooSlow(f"{function}: the database did not answer in time") from error
            except _UNREACHABLE as error:
                self._sayings.tell(function, str(error))
                raise DatabaseAway("cannot connect to the database") from error
            except _LOST as error:
                self._sayings.tell(function, repr(error))
                raise DatabaseAway(
                    f"{function}: the connection to the database was lost"
                ) from error
            return dict(result)
        raise AssertionError("unreachable")

    def _translated(self, error: asyncpg.PostgresError, function: str) -> Exception:
        code, message = error.sqlstate or "", str(error.args[0]) if error.args else ""
        translated = _meaning(error, code, message, function)
        if isinstance(translated, DatabaseAway):
            self._sayings.tell(function, in_log(code, message))
        return translated


def _meaning(error: asyncpg.PostgresError, code: str, message: str, function: str) -> Exception:
    if isinstance(error.__cause__, orjson.JSONEncodeError):  # its text contains the argument
        return unstorable()
    if code == "42501":
        return DatabaseAway(
            f"{function}: the user of DATABASE_URL has no right to it: give the owner of the"
            " database (on Supabase, the user postgres)"
        )
    if code in _LOST_STATEMENT:
        return DatabaseAway(
            f"{function}: there is a transaction pooler before the database: put"
            " ?pgbouncer=true behind DATABASE_URL"
        )
    if getattr(error, "severity_en", None) in _FATAL:
        return DatabaseAway(f"{function}: the database closed the connection ({code})")
    return meaning(code, message, function) or fault(code, message, function)


async def _speak_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )


async def _keep_session(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Reset nothing at a release: our functions leave no session state. It saves a round trip."""
