"""A pool that a router of a test has closed is the next router's, without what was set in it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.errors import DatabaseAway
from router.state.direct import DirectDatabase
from tests.postgres import Databases
from tests.state.kept import Kept, Shelf
from tests.state.lending import lent_to_this_loop

pytestmark = pytest.mark.apart
SETTING = "select current_setting('hybridflow.clock_offset', true)"
PID = "select pg_backend_pid()"


@pytest.fixture
async def own(databases: Databases, template_url: str) -> AsyncIterator[Shelf]:
    shelf = Shelf(databases, template_url)
    yield shelf
    await shelf.clear()


@pytest.fixture
async def kept(own: Shelf) -> AsyncIterator[Kept]:
    kept = await own.take()
    with lent_to_this_loop(kept.dsn, kept.lending):
        yield kept
    await own.give_back(kept)


async def test_the_next_one_gets_the_connection_without_what_was_set_on_it(kept: Kept):
    first = await DirectDatabase.connect(kept.dsn)
    pid = await first._pool.fetchval(PID)
    await first._pool.execute("set hybridflow.clock_offset = '1 hour'; listen hybridflow_turns")
    await first.close()
    second = await DirectDatabase.connect(kept.dsn)
    assert await second._pool.fetchval(PID) == pid
    assert not await second._pool.fetchval(SETTING)
    assert await second._pool.fetch("select pg_listening_channels()") == []
    await second.close()


async def test_two_at_once_and_those_of_another_size_have_pools_of_their_own(kept: Kept):
    databases = [await DirectDatabase.connect(kept.dsn, size=size) for size in (10, 10, 2)]
    pids = {await database._pool.fetchval(PID) for database in databases}
    assert len(pids) == 3
    assert [database.connections for database in databases] == [10, 10, 2]
    for database in databases:
        await database.close()


async def test_who_has_closed_it_calls_nothing_any_more(kept: Kept):
    database = await DirectDatabase.connect(kept.dsn)
    await database.call("check_database", {})
    await database.close()
    with pytest.raises(DatabaseAway):
        await database.call("check_database", {})
    await database.close()


async def test_what_is_under_way_ends_before_it_is_given_back(kept: Kept):
    database = await DirectDatabase.connect(kept.dsn)
    under_way = asyncio.create_task(database._pool.fetchval("select 7 from pg_sleep(0.3)"))
    await asyncio.sleep(0)
    await database.close()
    assert await under_way == 7


async def test_what_does_not_end_is_cut_off_and_given_to_nobody(kept: Kept):
    database = await DirectDatabase.connect(kept.dsn)
    pid = await database._pool.fetchval(PID)
    under_way = asyncio.create_task(database._pool.fetchval("select 7 from pg_sleep(30)"))
    await asyncio.sleep(0)
    await database.close()
    with pytest.raises(Exception, match="connection"):
        await under_way
    other = await DirectDatabase.connect(kept.dsn)
    assert await other._pool.fetchval(PID) != pid
    await other.close()


async def test_another_loop_gets_connections_of_its_own(kept: Kept):
    database = await DirectDatabase.connect(kept.dsn)
    pid = await database._pool.fetchval(PID)
    await database.close()

    async def asked() -> int:
        own = await DirectDatabase.connect(kept.dsn)
        asked: int = await own._pool.fetchval(PID)
        await own.close()
        return asked

    assert await asyncio.to_thread(asyncio.run, asked()) != pid
