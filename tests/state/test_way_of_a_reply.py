"""From claim to send in few steps: what is written down with what, and what waits for the disk."""

from datetime import datetime

import asyncpg
import orjson
import pytest

from router.state.database import Json
from tests.state.conversation import Conversation, held

CLAIM: Json = {
    "limit": 5,
    "lease_seconds": 60,
    "max_attempts": 5,
    "history_limit": 5,
    "worker": "test",
}


async def begin_with_reply(talk: Conversation, turn: Json, *parts: str, **more: object) -> Json:
    reply = {"parts": list(parts), "handler": "fallback", "tokens_in": 30, "tokens_out": 4}
    fence = {**held(turn), "part": 0, "body": parts[0], "lease_seconds": 45, **more}
    return await talk.database.call("begin_send", {**fence, "reply": reply})


async def test_the_fence_of_the_first_part_writes_the_whole_reply_down(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    begun = await begin_with_reply(talk, turn, "Olá!", "Tudo bem?")
    (row,) = await talk.turns()
    assert (row["state"], row["handler"], row["tokens_in"]) == ("sending", "fallback", 30)
    assert row["reply"] == ["Olá!", "Tudo bem?"]
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá!")]
    await talk.finish(turn, begun, "3EB0AA")
    assert await talk.turn_states() == ["sending"]  # the second part is still to come


async def test_the_next_attempt_goes_on_with_a_reply_whose_first_part_did_not_leave(
    talk: Conversation,
):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    begun = await begin_with_reply(talk, turn, "Olá!", "Tudo bem?")
    await talk.fail(turn, message_id=begun["message_id"])
    await talk.travel(seconds=60)
    (again,) = await talk.claim()
    assert again["reply"] == ["Olá!", "Tudo bem?"]


async def test_a_reply_that_the_fence_refuses_sends_nothing(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.owner_writes("deixa comigo")
    assert "refused" in await begin_with_reply(talk, turn, "Olá!")
    assert await talk.turn_states() == ["cancelled"]
    assert ("ai", "Olá!") not in await talk.sayings()


async def test_whoever_shows_an_old_token_writes_nothing_down(talk: Conversation):
    await talk.maria_writes("oi")
    old = await talk.claim_one()
    await talk.travel(seconds=61)
    (new,) = await talk.claim()
    assert await begin_with_reply(talk, old, "Olá!") == {"refused": "stale"}
    assert (await talk.turns())[0]["reply"] is None
    assert "message_id" in await begin_with_reply(talk, new, "Oi!")
    assert (await talk.turns())[0]["reply"] == ["Oi!"]


async def test_the_same_reply_written_down_again_costs_nothing_more(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    budget = {**held(turn), "tokens": 1000, "policy": {}}
    await talk.database.call("reserve_budget", budget)
    reply = {"parts": ["Olá!"], "handler": "fallback", "tokens_in": 30, "tokens_out": 4}
    for _ in range(2):
        assert await talk.database.call("save_reply", {**held(turn), **reply}) == {"ok": True}
    await begin_with_reply(talk, turn, "Olá!")
    (row,) = await talk.turns()
    assert (row["tokens_in"], row["tokens_out"]) == (30, 4)
    assert await talk.value("select max(tokens) from spending") == 34


@pytest.mark.parametrize(
    ("function", "waits"),
    [("claim_turns", "off"), ("reserve_budget", "on"), ("begin_send", "on")],
)
async def test_only_what_nothing_depends_on_yet_does_not_wait_for_the_disk(
    talk: Conversation, database_url: str, function: str, waits: str
):
    """A claim that a crash takes back opens nothing; money and sends follow what is on the disk."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    argument: Json = {
        "claim_turns": CLAIM,
        "reserve_budget": {**held(turn), "tokens": 1, "policy": {}},
        "begin_send": {**held(turn), "part": 0, "body": "Olá!", "lease_seconds": 45},
    }[function]
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("set synchronous_commit = on")
        async with connection.transaction():
            call = f"select public.{function}($1::text::jsonb)"
            await connection.fetchval(call, orjson.dumps(argument).decode())
            assert await connection.fetchval("show synchronous_commit") == waits
        assert await connection.fetchval("show synchronous_commit") == "on"
    finally:
        await connection.close()


async def test_a_look_that_finds_nothing_due_says_when_to_look_again(talk: Conversation):
    await talk.maria_writes("oi")
    answer = await talk.database.call(
        "claim_turns",
        {**CLAIM, "after_tenant": 7},
    )
    (row,) = await talk.turns()
    assert (answer["turns"], answer["unreadable"], answer["too_old"]) == ([], [], [])
    assert (answer["taken"], answer["more"], answer["left"]) == (0, False, False)
    assert answer["after_tenant"] == 7
    assert datetime.fromisoformat(answer["next_due_at"]) == row["run_after"]
