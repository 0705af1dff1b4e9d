"""DATABASE_URL through a pooler of transactions: no prepared statements, no session state."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

from loopback.pooler import Pooler
from router.errors import DatabaseAway
from router.state.address import Address
from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation


@pytest.fixture
async def pooler(database_url: str) -> AsyncIterator[Pooler]:
    query = parse_qs(urlsplit(database_url).query)
    port = query.get("port", ["5432"])[0]
    async with Pooler(f"{query['host'][0]}/.s.PGSQL.{port}") as pooler:
        yield pooler


def through(pooler: Pooler, database_url: str, query: str) -> str:
    parts = urlsplit(database_url)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{pooler.port}", query=query))


async def test_a_whole_conversation_passes_a_pooler(pooler: Pooler, database_url: str):
    behind = await DirectDatabase.connect(database_url, size=1)
    pooled = await DirectDatabase.connect(through(pooler, database_url, "pgbouncer=true"), size=4)
    # Four clients bring four connections, among which every transaction is passed around.
    await asyncio.gather(*(pooled.call("check_database", {}) for _ in range(4)))
    await Conversation(behind).open_shop(debounce_seconds=0)
    talk = Conversation(pooled)
    for text in ("oi", "tem bolo?", "de cenoura"):
        await talk.maria_writes(text)
    (turn,) = await talk.claim()
    await talk.save(turn, "Olá!")
    await talk.finish(turn, await talk.begin(turn, "Olá!"), "3EB0A0000001")
    await asyncio.gather(*(pooled.call("list_tenants", {}) for _ in range(20)))
    assert (await talk.session())["is_paused"] is False
    assert pooler.transactions > 30
    await pooled.close()
    await behind.close()


async def test_a_pooler_that_was_not_told_of_is_noticed_with_the_cure(
    pooler: Pooler, database_url: str
):
    """Also shows that the pooler of these tests is one."""
    told = await DirectDatabase.connect(through(pooler, database_url, "pgbouncer=true"), size=1)
    await told.call("check_database", {})  # so that there are two connections to change between
    untold = await DirectDatabase.connect(through(pooler, database_url, "pgbouncer=false"), size=1)
    calls = [untold.call("check_database", {}) for _ in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [str(answer) for answer in answers if isinstance(answer, DatabaseAway)]
    assert "put ?pgbouncer=true behind DATABASE_URL" in refusals[0]
    await told.close()
    await untold.close()


@pytest.mark.parametrize(("setting", "left"), [("true", 0), ("false", 1)])
async def test_no_prepared_statement_is_left_on_the_server(
    database_url: str, setting: str, left: int
):
    database = await DirectDatabase.connect(f"{database_url}&pgbouncer={setting}", size=1)
    await database.call("check_database", {})
    async with database._pool.acquire() as connection:
        await connection.execute(
            "create temp table seen as select statement from pg_prepared_statements"
            " where statement like '%check_database%'"
        )
        assert await connection.fetchval("select count(*) from seen") == left
    await database.close()


@pytest.mark.parametrize(
    ("url", "pooled"),
    [
        ("postgresql://u:p@aws-0.pooler.supabase.com:6543/postgres", True),
        ("postgresql://u:p@aws-0.pooler.supabase.com:6543", True),
        ("postgresql://u:p@aws-0.pooler.supabase.com:6543/postgres?sslmode=require", True),
        ("postgresql://u:p@aws-0.pooler.supabase.com:6543?sslmode=require", True),
        ("postgresql://u:p@[::1]:6543/postgres", True),
        ("postgresql:///postgres?host=db.example&port=6543", True),
        ("postgresql://u:p@a.example:5432,b.example:6543/postgres", True),
        ("postgresql://u:p@db.abc.supabase.co:5432/postgres", False),
        ("postgresql://u:p@aws-0.pooler.supabase.com:5432/postgres", False),
        ("postgresql://u:p%3A6543@db.example/6543", False),
        ("postgresql://u:p@[fe80::6543]/postgres", False),
        ("postgresql://u:p@db.example:65432/postgres", False),
        ("postgresql://u:p@bouncer.example:6432/db?pgbouncer=true", True),
        ("postgresql://u:p@aws-0.pooler.supabase.com:6543/postgres?pgbouncer=false", False),
    ],
)
def test_a_pooler_is_known_by_its_port_or_by_what_the_address_says(url: str, pooled: bool):
    assert Address.of(url).pools_transactions is pooled


def test_what_orms_put_behind_an_address_is_not_shown_to_postgresql():
    url = "postgresql://u:p%40@h:6543/db?pgbouncer=true&connection_limit=1&sslmode=require"
    assert Address.of(url).dsn == "postgresql://u:p%40@h:6543/db?sslmode=require"
