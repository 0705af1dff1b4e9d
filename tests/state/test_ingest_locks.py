"""One call with many events never stays waiting for a lock: no deadlock, and nobody held back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, POLICY, Conversation

LOCK_SESSION = """
    select from sessions where id in (select session_id from session_identities where jid = $1)
    for update
"""
ANA = "5511955550003@s.whatsapp.net"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Conversation]:
    """A tenant to whom Maria, João and Ana have written."""
    database = await DirectDatabase.connect(database_url, size=3)
    talk = Conversation(database)
    await talk.open_shop()
    await talk.ingest(*(talk.message("oi", jids=[jid]) for jid in (MARIA, JOAO, ANA)))
    yield talk
    await database.close()


@asynccontextmanager
async def held(talk: Conversation, jid: str) -> AsyncIterator[Any]:
    """Somebody else's transaction that holds the contact's session."""
    async with talk.database._pool.acquire() as connection, connection.transaction():
        await connection.execute("set local deadlock_timeout = '100ms'")
        await connection.fetch(LOCK_SESSION, jid)
        yield connection


async def ingest(talk: Conversation, *events: Json) -> list[str]:
    answer = await talk.database.call(
        "ingest_events", {"events": events, "policy": POLICY, "patience_ms": 50}
    )
    return [decision["outcome"] for decision in answer["decisions"]]


async def test_who_is_held_is_told_busy_with_all_that_follows_and_the_others_are_recorded(
    shop: Conversation,
):
    events = [
        shop.message(text, jids=[jid])
        for text, jid in (("1", JOAO), ("2", MARIA), ("3", JOAO), ("4", ANA))
    ]
    async with held(shop, JOAO):
        assert await ingest(shop, *events) == ["busy", "recorded", "busy", "recorded"]
        assert await shop.value("select count(*) from processed_events where decision is null") == 0
    assert await ingest(shop, events[0], events[2]) == ["recorded", "recorded"]
    said = await shop.sql(
        "select body from messages where session_id = (select session_id from session_identities"
        " where jid = $1) order by id",
        JOAO,
    )
    assert [row["body"] for row in said] == ["oi", "1", "3"]


async def test_after_one_wait_in_vain_the_call_hardly_waits_any_more(shop: Conversation):
    waited = "select current_setting('lock_timeout')"
    async with held(shop, JOAO), shop.database._pool.acquire() as connection:
        async with connection.transaction():
            argument = {"events": [shop.message("1", jids=[JOAO])], "policy": POLICY}
            await connection.fetchval(
                "select public.ingest_events($1)", argument | {"patience_ms": 50}
            )
            assert await connection.fetchval(waited) == "1ms"
        assert await connection.fetchval(waited) == "0"  # nothing of it is left


@pytest.mark.parametrize("order", [(MARIA, JOAO), (JOAO, MARIA)])
async def test_two_that_want_each_others_session_both_go_on(
    shop: Conversation, order: tuple[str, str]
):
    """The call, which sorts its events, holds the one and wants the other."""
    events = [shop.message("1", jids=[jid]) for jid in order]
    async with held(shop, max(order)) as other:
        call = asyncio.create_task(ingest(shop, *events))
        await other.fetch(LOCK_SESSION, min(order))  # raises DeadlockDetected, or waits for ever
        outcomes = dict(zip(order, await call, strict=True))
    assert outcomes[max(order)] == "busy"
    assert await ingest(shop, *events) == ["recorded", "recorded"]


async def test_two_calls_whose_events_have_the_same_keys_in_other_orders_both_go_on(
    shop: Conversation,
):
    """The same two messages, of which the other call knows one contact under another JID."""
    first, second = shop.message("1", jids=[MARIA]), shop.message("2", jids=[JOAO])
    crossed = [first | {"jids": [ANA]}, second]
    async with shop.database._pool.acquire() as connection, connection.transaction():
        argument = {"events": [second], "policy": POLICY}
        await connection.fetchval("select public.ingest_events($1)", argument)
        assert await ingest(shop, *crossed) == ["recorded", "busy"]
        await connection.fetchval("select public.ingest_events($1)", argument | {"events": [first]})
    assert await ingest(shop, *crossed) == ["recorded", "recorded"]


async def test_a_change_takes_the_session_before_the_message_as_whoever_sends_does(
    shop: Conversation,
):
    status = {
        "instance": "shop",
        "event": "messages.update",
        "type": "status",
        "key": "messages.update:3EB077:server_ack",
        "wa_id": "3EB077",
        "jids": [MARIA],
        "status": "server_ack",
    }
    free = "select pg_try_advisory_xact_lock(hashtextextended('message:1:3EB077', 0))"
    async with held(shop, MARIA) as sender:
        change = asyncio.create_task(shop.ingest(status))
        async with asyncio.timeout(10):
            while not await sender.fetchval("select count(*) from pg_locks where not granted"):
                assert not change.done()
                await asyncio.sleep(0.01)
        assert await sender.fetchval(free)
    assert (await change)[0]["decision"] == "waiting_for_message"


async def test_without_patience_a_lone_event_waits(shop: Conversation):
    async with held(shop, MARIA) as other:
        call = asyncio.create_task(shop.maria_writes("2"))
        async with asyncio.timeout(10):
            while not await other.fetchval("select count(*) from pg_locks where not granted"):
                await asyncio.sleep(0.01)
    assert (await call)["outcome"] == "recorded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"sent_at": "Maria's secret"},
        {"kind": None, "text": "Maria's secret"},
        {"from_me": "Maria's secret"},
    ],
)
async def test_an_event_that_cannot_be_stored_says_a_code_and_nothing_of_the_row(
    shop: Conversation, wrong: Json
):
    argument = {"events": [shop.message("oi") | wrong], "policy": POLICY}
    answer = await shop.database.call("ingest_events", argument)
    (decision,) = answer["decisions"]
    assert decision["outcome"] == "failed"
    assert len(decision["code"]) == 5
    assert "secret" not in str(decision)
    assert set(decision) - {"error"} == {"outcome", "code", "constraint", "detail"}
