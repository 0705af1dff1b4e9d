"""A message and what happens to it are recorded at the same moment, by two connections."""

import asyncio

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, POLICY, Conversation


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
