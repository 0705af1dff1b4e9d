"""The one way to the state: call a SQL function with one JSON argument, get JSON back."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, Self

import asyncpg
import orjson

from router.errors import (
    Conflict,
    DatabaseAway,
    Invalid,
    NotAllowed,
    NotFound,
    StateError,
    UnknownCaller,
)

Json = dict[str, Any]

_CALL_TIMEOUT = 15.0
_CONNECT_TIMEOUT = 5.0
_ERRORS: dict[str, type[StateError]] = {
    "PT401": UnknownCaller,
    "PT403": NotAllowed,
    "PT404": NotFound,
    "PT409": Conflict,
    "PT422": Invalid,
}
_AWAY_CLASSES = ("08", "53", "57")  # connection, resources, operator intervention
_RETRIED = ("40P01",)  # deadlock: the transaction was rolled back whole
_MISSING = ("42883", "42P01", "3F000")  # function, table, schema


class Database(Protocol):
    """Whatever carries a call of a SQL function to PostgreSQL."""

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """Call `public.<function>(argument)`.

        One call is one transaction. Raises NotFound, Conflict or Invalid as the function says, and
        DatabaseAway when there was no answer (the call may have been carried out all the same).
        """
        ...


class DirectDatabase:
    """A pool of direct connections (asyncpg), for DATABASE_URL and the embedded server."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    async def connect(cls, dsn: str, *, size: int = 10) -> Self:
        """Make the pool; it connects when it is first asked.

        So a router can start, and say what is wrong, while its database is away.
        """
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            init=_speak_json,
            reset=_keep_session,
            statement_cache_size=0 if ":6543/" in dsn else 100,  # Supabase's transaction pooler
            timeout=_CONNECT_TIMEOUT,
            command_timeout=_CALL_TIMEOUT,
            max_inactive_connection_lifetime=0,  # kept, with the plans that it has made
        )
        return cls(pool)

    async def close(self) -> None:
        """Close every connection; calls under way are waited for briefly."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5)
        except TimeoutError:
            self._pool.terminate()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`."""
        for last_try in (False, False, True):
            try:
                result = await self._pool.fetchval(f"select public.{function}($1)", argument)
            except asyncpg.PostgresError as error:
                if error.sqlstate in _RETRIED and not last_try:
                    continue
                raise _translated(error, function) from error
            except TimeoutError as error:
                raise DatabaseAway(f"{function}: the database did not answer in time") from error
            except (OSError, asyncpg.InterfaceError) as error:
                raise DatabaseAway(f"cannot connect to the database: {error}") from error
            return dict(result)
        raise AssertionError("unreachable")


def _translated(error: asyncpg.PostgresError, function: str) -> Exception:
    code = error.sqlstate or ""
    if code in _ERRORS:
        return _ERRORS[code](str(error))
    if code.startswith(_AWAY_CLASSES) or code in _RETRIED:
        return DatabaseAway(f"{function}: {error}")
    if code in _MISSING:
        return DatabaseAway(
            f"{function}: {error}; apply the schema with `python -m scripts.migrate`"
            " or paste database/schema.sql"
        )
    if code.startswith("22"):
        return Invalid(str(error))
    return error


async def _speak_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )


async def _keep_session(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The functions leave no session state behind: a round trip saved on each release."""
