"""The two ways to the state, as the state tests use them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from router.state.direct import DirectDatabase
from router.state.postgrest import SupabaseDatabase
from tests.supabase import TestProject


class RestDatabase(SupabaseDatabase):
    """Calls go over PostgREST; a test looks behind them through `_pool`, as with the direct one."""

    _pool: Any = None
    project: TestProject


@asynccontextmanager
async def over_postgresql(database_url: str) -> AsyncIterator[DirectDatabase]:
    database = await DirectDatabase.connect(database_url, size=1)
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
