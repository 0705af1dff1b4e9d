"""A router that is started before its schema is applied: what waits, waits on."""

import asyncio

import asyncpg
import pytest

from router.app import create_app
from router.configuration.settings import load_settings
from router.state.migrations import migrate
from tests.routers import environment
from tests.state.old_release import make_old

WAITING = (
    "select 'turn', id, attempt from turns where state in ('pending', 'running', 'sending')"
    " union all select 'notice', id, attempt from notices where state = 'pending' order by 1, 2"
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
            while not await connection.fetchval(
                "select exists (select from turns where claimed_at is not null)"
                " and not exists (select from notices where attempt = 0)"
            ):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
    assert "not as expected" not in caplog.text
