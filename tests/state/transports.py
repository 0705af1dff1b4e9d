"""The two ways to the state, as the state tests use them.

Both compare every answer that passes with the header of its function: see `tests.sql_headers`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from router.state.database import Json
from router.state.direct import DirectDatabase
from router.state.postgrest import SupabaseDatabase
from tests.sql_headers import FOR_AUDIT, headers
from tests.supabase import TestProject


class OpenDatabase(DirectDatabase):
    """Calls go straight to PostgreSQL."""

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        answer = await super().call(function, argument)
        require_as_told(function, argument, answer)
        return answer


class RestDatabase(SupabaseDatabase):
    """Calls go over PostgREST; a test looks behind them through `_pool`, as with the direct one."""

    _pool: Any = None
    project: TestProject

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        answer = await super().call(function, argument)
        require_as_told(function, argument, answer)
        return answer


def require_as_told(function: str, argument: Mapping[str, object], answer: Json) -> None:
    """Fail unless the answer has the keys that the function's header names."""
    if function not in headers():
        return  # a test made it
    assert headers()[function].misfits(answer) == [], (function, answer)
    if function == "as_operator":
        # What it keeps to itself makes no difference to what kind of answer it is.
        inner = str(argument["function"])
        faults = headers()[inner].misfits(answer["result"])
        assert not {fault for fault in faults if fault.split()[0] not in FOR_AUDIT}, (inner, answer)


@asynccontextmanager
async def over_postgresql(database_url: str) -> AsyncIterator[DirectDatabase]:
    database = await OpenDatabase.connect(database_url, size=1)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def over_postgrest(project: TestProject, database_url: str) -> AsyncIterator[RestDatabase]:
    database = await RestDatabase.connect(project.url, SecretStr(project.secret_key))
    try:
        async with over_postgresql(database_url) as desk:
            database._pool = desk._pool
            database.project = project
            yield database
    finally:
        await database.close()
