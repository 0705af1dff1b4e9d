"""An edit is answered where a new message would be, and nowhere else, however it comes."""

import asyncio

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, answered
from tests.state.test_changed_questions import change, deletes, edits


async def label(talk: Conversation, *add: str) -> None:
    asked = {"tenant_id": 1, "session_id": 1, "add": list(add), "policy": POLICY}
    await talk.database.call("set_labels", asked)


async def test_a_session_without_ai_answers_no_edit(talk: Conversation):
    await talk.set_rule("answer_edits", True)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.answer("2, anotado")
    await label(talk, "no-ai")
    decision = await edits(talk, "AC01", "Quero 20 bolos")
    assert decision["decision"] == "edit_applied"
    assert "turn_id" not in decision
    assert await talk.turn_states() == ["sent"]


@pytest.mark.parametrize("when", ["it waits", "it runs", "it is saved"])
async def test_the_label_stops_the_turn_that_an_edit_made(talk: Conversation, when: str):
    await talk.set_rule("answer_edits", True)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.answer("2, anotado")
    await edits(talk, "AC01", "Quero 20 bolos")
    turn = None if when == "it waits" else await talk.claim_one()
    if turn is not None and when == "it is saved":
        await talk.save(turn, "20, anotado")
    await label(talk, "no-ai")
    await talk.travel(seconds=11)
    assert await talk.claim() == []
    if turn is not None:
        assert "refused" in await talk.begin(turn, "20, anotado")
    assert await talk.turn_states() == ["sent", "cancelled"]


async def test_the_fence_reads_the_label_by_itself(talk: Conversation):
    """However it came to be there."""
    await talk.maria_writes("Quero 2 bolos")
    turn = await talk.claim_one()
    await talk.save(turn, "2, anotado")
    await talk.sql("update sessions set labels = '{no-ai}'")
    assert (await talk.begin(turn, "2, anotado"))["refused"] == "paused"
    assert [(t["state"], t["reason"]) for t in await talk.turns()] == [("cancelled", "no_ai")]


async def test_what_was_deleted_is_not_answered_when_it_is_edited(talk: Conversation):
    await talk.set_rule("answer_edits", True)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.answer("2, anotado")
    await deletes(talk, "AC01")
    assert "turn_id" not in await edits(talk, "AC01", "Quero 20 bolos")
    assert await talk.turn_states() == ["sent"]


@pytest.mark.parametrize("answer_edits", [False, True])
async def test_nor_does_it_disturb_the_reply_to_the_rest(talk: Conversation, answer_edits: bool):
    await talk.set_rule("answer_edits", answer_edits)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.maria_writes("e um café", wa_id="AC02")
    await deletes(talk, "AC01")
    turn = await talk.claim_one()
    assert "due_in" not in await edits(talk, "AC01", "Quero 20 bolos")
    await talk.save(turn, "Um café")
    assert "refused" not in await talk.begin(turn, "Um café")


async def test_what_was_edited_lately_is_not_too_old(talk: Conversation):
    await talk.set_rule("answer_edits", True)
    await talk.set_rule("answer_within_minutes", 10)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.answer("2, anotado")
    await talk.travel(minutes=12)
    decision = await edits(talk, "AC01", "Quero 20 bolos")
    assert "turn_id" in decision
    await talk.travel(seconds=11)
    assert answered((await claim_strictly(talk))["turns"][0]) == ["Quero 20 bolos"]


async def test_a_change_in_the_time_to_come_makes_nothing_younger(talk: Conversation):
    await talk.set_rule("answer_within_minutes", 10)
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    later = (talk.now().replace(year=talk.now().year + 1)).isoformat()
    await edits(talk, "AC01", "Quero 20 bolos", edited_at=later)
    await talk.travel(minutes=12)
    assert len((await claim_strictly(talk))["too_old"]) == 1


async def claim_strictly(talk: Conversation) -> Json:
    asked = {
        "limit": 10,
        "lease_seconds": 60,
        "max_attempts": 5,
        "history_limit": 50,
        "worker": "test",
        "answer_within_minutes": 60,
    }
    return await talk.database.call("claim_turns", asked)


@pytest.mark.parametrize("on_new_message", ["queue", "restart"])
async def test_the_newest_text_is_answered_however_often_it_was_changed(
    talk: Conversation, on_new_message: str
):
    """After ten changes the reply under way is made as it is; what is changed then comes after."""
    await talk.set_rule("answer_edits", True)
    await talk.set_rule("on_new_message", on_new_message)
    await talk.maria_writes("Quero 0 bolos", wa_id="AC01")
    for number in range(1, 11):
        await talk.claim_one()
        assert (await edits(talk, "AC01", f"Quero {number} bolos"))["due_in"] == 2
    turn = await talk.claim_one()
    for number in (11, 12):
        await edits(talk, "AC01", f"Quero {number} bolos")
    assert await talk.turn_states() == ["running", "pending"]
    await talk.save(turn, "10, anotado")
    begun = await talk.begin(turn, "10, anotado")
    await talk.finish(turn, begun, "3EB001")
    assert answered(await talk.claim_one()) == ["Quero 12 bolos"]


async def test_an_edit_that_waited_for_a_merge_goes_on_with_the_session_that_is_left(
    database_url: str,
):
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        talk = Conversation(ours)
        await talk.open_shop(answer_edits=True)
        await talk.maria_writes("oi", jids=[MARIA])
        await talk.answer()
        await talk.maria_writes("Quero 2 bolos", wa_id="AC01", jids=[MARIA_LID])
        await talk.answer("2, anotado")
        pair = talk.message("sou eu", jids=[MARIA, MARIA_LID])
        async with ours._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(
                "select public.ingest_events($1)", {"events": [pair], "policy": POLICY}
            )
            edit = change(talk, "edit", "AC01", "Quero 20 bolos", jids=[MARIA_LID])
            waits = asyncio.create_task(
                theirs.call("ingest_events", {"events": [edit], "policy": POLICY})
            )
            async with asyncio.timeout(10):
                while not await connection.fetchval(
                    "select count(*) from pg_locks where not granted"
                ):
                    assert not waits.done(), "it did not wait, so it cannot have seen the merge"
                    await asyncio.sleep(0.01)
        (decision,) = (await waits)["decisions"]
        (session,) = await talk.sql("select id from sessions")
        assert decision["session_id"] == session["id"]
        assert decision["turn_id"] is not None
        turns = await talk.sql("select session_id from turns where state = 'pending'")
        assert [t["session_id"] for t in turns] == [session["id"]]
    finally:
        for database in (ours, theirs):
            await database.close()
