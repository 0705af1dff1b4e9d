"""A router that is started before its schema is applied, or meanwhile: what waits, waits on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from router.app import create_app
from router.configuration.settings import load_settings
from router.state.migrations import migrate, read_migrations
from tests.routers import environment
from tests.state.old_release import make_old

WAITING = (
    "select 'turn', id, attempt from turns where state in ('pending', 'running', 'sending')"
    " union all select 'notice', id, attempt from notices where state = 'pending' order by 1, 2"
)
BOTH_CLAIMED = (
    "select exists (select from turns where claimed_at is not null)"
    " and not exists (select from notices where attempt = 0)"
)


async def test_on_the_schema_of_0_1_0_no_attempt_is_used_up_until_it_is_upgraded(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
):
    """0.1.0's claims answer otherwise than is read now: each would be in vain, and counted."""
    await make_old(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    try:
        before = await connection.fetch(WAITING)
        assert {row[0] for row in before} == {"turn", "notice"}
        env = environment(empty_database_url, POLL_SECONDS="0.1")
        app = create_app(load_settings(env, env_file=None))
        async with app.router.lifespan_context(app), asyncio.timeout(60):
            while "no turn is answered" not in caplog.text:
                assert await connection.fetch(WAITING) == before
                await asyncio.sleep(0.01)
            assert await connection.fetch(WAITING) == before
            await migrate(empty_database_url)
            while not await connection.fetchval(BOTH_CLAIMED):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
    assert "not as expected" not in caplog.text


WAITS_FOR_A_LOCK = (
    "select exists (select from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and wait_event_type = 'Lock' and "
)
A_CLAIM_WAITS = WAITS_FOR_A_LOCK + "query like '%public.claim%')"
A_CALL_WAITS_LONG = (
    WAITS_FOR_A_LOCK + "query_start < pg_catalog.clock_timestamp() - '5 s'::interval)"
)


@asynccontextmanager
async def started_in_a_migration(
    url: str, setting: str = ""
) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A router that was started while the migration from 0.1.0 was under way, which ends behind.

    Yields the connection that migrates. The router's connections have the database's `setting`.
    """
    await make_old(url)
    connection = await asyncpg.connect(url)
    try:
        if setting:
            name = await connection.fetchval("select current_database()")
            await connection.execute(f"alter database {name} set {setting}")
        app = create_app(load_settings(environment(url, POLL_SECONDS="0.1"), env_file=None))
        async with asyncio.timeout(120):
            await connection.execute("begin")
            for migration in read_migrations():
                await connection.execute(migration.sql)
            async with app.router.lifespan_context(app):
                yield connection
                await connection.execute("commit")
                while not await connection.fetchval(BOTH_CLAIMED):
                    await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_a_router_that_starts_in_the_midst_of_a_long_migration_claims_nothing_before_its_end(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
):
    """A claim would wait for the migration's locks, and go on with 0.1.0's text of the function."""
    async with started_in_a_migration(empty_database_url) as connection:
        while not await connection.fetchval(A_CALL_WAITS_LONG):
            assert not await connection.fetchval(A_CLAIM_WAITS)
            await asyncio.sleep(0.05)
    assert "not as expected" not in caplog.text


async def test_a_look_that_the_database_ends_in_the_midst_of_a_migration_lets_nothing_be_claimed(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
):
    """With a lock_timeout, the look fails at once, and a claim may wait for the migration's end."""
    async with started_in_a_migration(empty_database_url, "lock_timeout = '1s'") as connection:
        while "is not known" not in caplog.text:
            assert not await connection.fetchval(A_CLAIM_WAITS)
            await asyncio.sleep(0.05)
    assert "not as expected" not in caplog.text
