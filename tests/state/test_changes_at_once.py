"""A message and what happens to it are recorded at the same moment, by two connections."""

import asyncio

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation


def edit(talk: Conversation, wa_id: str) -> Json:
    return {
        "instance": talk.instance,
        "event": "messages.edited",
        "type": "edit",
        "key": f"edit:{wa_id}:1:aa",
        "wa_id": wa_id,
        "from_me": False,
        "jids": [MARIA],
        "text": "tem torta?",
        "edited_at": None,
    }


@pytest.mark.parametrize("first", ["the message", "its edit"])
async def test_an_edit_is_applied_whichever_of_the_two_commits_first(database_url: str, first: str):
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        talk = Conversation(ours)
        await talk.open_shop()
        events = [talk.message("tem bolo?", wa_id="AC01"), edit(talk, "AC01")]
        if first == "its edit":
            events.reverse()
        async with ours._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(
                "select public.ingest_events($1)", {"events": events[:1], "policy": POLICY}
            )
            second = asyncio.create_task(
                theirs.call("ingest_events", {"events": events[1:], "policy": POLICY})
            )
            waiting = "select count(*) from pg_locks where not granted"
            async with asyncio.timeout(10):
                while not await connection.fetchval(waiting):
                    assert not second.done(), "it did not wait, so it cannot have seen the first"
                    await asyncio.sleep(0.01)
        await second
        assert await talk.value("select body from messages where wa_id = 'AC01'") == "tem torta?"
    finally:
        await ours.close()
        await theirs.close()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("jid", [MARIA, MARIA_LID])
async def test_the_same_event_at_the_same_moment_is_taken_once_and_leaves_nothing_of_the_second(
    database_url: str, jid: str, known: bool
):
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        talk = Conversation(ours)
        await talk.open_shop()
        if known:
            await talk.ingest(
                talk.message("oi", jids=[MARIA]), talk.message("oi", jids=[MARIA_LID])
            )
        before = await talk.value("select count(*) from messages")
        event = talk.message("tem bolo?", wa_id="AC01", jids=[MARIA])
        async with ours._pool.acquire() as connection, connection.transaction():
            first = await connection.fetchval(
                "select public.ingest_events($1)", {"events": [event], "policy": POLICY}
            )
            second = asyncio.create_task(
                theirs.call(
                    "ingest_events", {"events": [event | {"jids": [jid]}], "policy": POLICY}
                )
            )
            async with asyncio.timeout(10):
                while not await connection.fetchval(
                    "select count(*) from pg_locks where not granted"
                ):
                    assert not second.done(), "it did not wait, so it cannot have seen the first"
                    await asyncio.sleep(0.01)
        (again,) = (await second)["decisions"]
        assert again == first["decisions"][0] | {"duplicate": True}
        assert await talk.value("select count(*) from messages") == before + 1
        assert await talk.value("select count(*) from turns") == (2 if known else 1)
        assert await talk.value("select count(*) from sessions") == (2 if known else 1)
        assert await talk.value(
            "select count(*) from processed_events where decision ->> 'duplicate' is null"
        ) == (3 if known else 1)
    finally:
        await ours.close()
        await theirs.close()


async def test_an_event_is_written_once_with_its_decision(database_url: str):
    database = await DirectDatabase.connect(database_url, size=1)
    written = """
        select pg_stat_get_xact_tuples_inserted(oid), pg_stat_get_xact_tuples_updated(oid)
        from pg_class where oid = 'public.processed_events'::regclass
    """
    try:
        talk = Conversation(database)
        await talk.open_shop()
        delete = {"type": "delete", "event": "messages.delete", "key": "delete:AC99"}
        events = [talk.message("tem bolo?"), edit(talk, "AC99"), edit(talk, "AC99") | delete]
        async with database._pool.acquire() as connection, connection.transaction():
            before = await connection.fetchrow(written) or ()
            await connection.fetchval(
                "select public.ingest_events($1)", {"events": events, "policy": POLICY}
            )
            after = await connection.fetchrow(written) or ()
        assert [now - then for now, then in zip(after, before, strict=True)] == [3, 0]
        assert await talk.value("select count(*) from processed_events where decision is null") == 0
        assert (
            await talk.value("select count(*) from processed_events where change is not null") == 2
        )
    finally:
        await database.close()
