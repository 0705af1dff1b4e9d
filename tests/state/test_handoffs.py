"""Handoffs: each is a row that waits until a human takes it, and is over when the AI goes on."""

from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, held

OPERATOR = {"tenant_id": 1, "session_id": 1, "source": "operator"}


async def hand_off(talk: Conversation, reason: str = "upset", **more: Any) -> Json:
    """Maria writes, and a flow calls a human without a word."""
    await talk.maria_writes("quero falar com o gerente")
    turn = await talk.claim_one()
    told = await talk.database.call("hand_off", {**held(turn), "reason": reason, **more})
    assert told["ok"]
    return turn


async def handoffs(talk: Conversation) -> list[Json]:
    return [dict(row) for row in await talk.sql("select h.* from handoffs as h order by id")]


async def states(talk: Conversation) -> list[str]:
    return [each["state"] for each in await handoffs(talk)]


@pytest.mark.parametrize(
    ("said", "reason", "why"),
    [("upset", "upset", None), ("quer um reembolso", "other", "quer um reembolso")],
)
async def test_a_handoff_is_a_row_that_waits(talk: Conversation, said: str, reason: str, why: Any):
    turn = await hand_off(talk, said, summary="o bolo veio seco")
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["reason"], handoff["why"]) == ("waiting", reason, why)
    assert (handoff["summary"], handoff["words"]) == ("o bolo veio seco", "none")
    assert (handoff["turn_id"], handoff["session_id"]) == (turn["turn_id"], 1)
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert session["pause_reason"] == f"{said}: o bolo veio seco"


async def test_a_refused_reply_hands_off_too(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.database.call("refuse_reply", {**held(turn), "rule": "leak"})
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["reason"]) == ("waiting", "not_allowed")


async def test_who_writes_on_the_phone_takes_it(talk: Conversation):
    await hand_off(talk)
    written = await talk.owner_writes("oi, aqui é a Ana")
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"]) == ("taken", "owner")
    assert handoff["taken_message_id"] == written["message_id"]
    assert handoff["taken_at"] is not None


async def test_who_writes_by_hybridflow_takes_it(talk: Conversation):
    await hand_off(talk)
    asked = {"tenant_id": 1, "session_id": 1, "body": "oi", "author": "Ana"}
    await talk.database.call("begin_human_send", asked)
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"], handoff["taken_name"]) == (
        "taken", "operator", "Ana",
    )  # fmt: skip


async def test_who_pauses_takes_it(talk: Conversation):
    await hand_off(talk)
    await talk.database.call("pause_session", OPERATOR)
    assert await states(talk) == ["taken"]


async def test_what_was_written_before_it_takes_nothing(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("oi, de novo", ago=300)
    assert await states(talk) == ["waiting"]


async def test_a_message_that_was_no_humans_gives_it_back(talk: Conversation):
    await hand_off(talk)
    written = await talk.owner_writes("bom dia!")
    assert await states(talk) == ["taken"]
    await talk.sql("select hybridflow.withdraw_pause(1, $1)", written["message_id"])
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"], handoff["taken_at"]) == ("waiting", None, None)
    assert (await talk.session())["is_paused"]


async def test_given_back_it_is_done(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("resolvido")
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    (handoff,) = await handoffs(talk)
    assert handoff["state"] == "done"
    assert handoff["ended_at"] is not None


async def test_a_pause_that_runs_out_gives_a_taken_one_back(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("resolvido")
    await talk.travel(hours=3)
    await talk.database.call("auto_resume", {"policy": POLICY})
    assert await states(talk) == ["done"]


async def test_one_at_a_time_waits_and_another_may_follow(talk: Conversation):
    await hand_off(talk)
    await talk.sql("select hybridflow.pause_for_loop(s) from sessions as s")
    assert await states(talk) == ["waiting"]
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    await hand_off(talk)
    assert await states(talk) == ["done", "waiting"]


async def test_of_two_sessions_that_become_one_the_older_handoff_waits(talk: Conversation):
    await hand_off(talk)
    await talk.maria_writes("oi", jids=[JOAO])
    turn = await talk.claim_one()
    await talk.database.call("hand_off", {**held(turn), "reason": "not_known"})
    assert await states(talk) == ["waiting", "waiting"]
    await talk.maria_writes("sou eu", jids=[MARIA_LID, MARIA])
    await talk.sql("select hybridflow.merge_sessions(1, 2)")
    rows = await talk.sql("select state, session_id from handoffs order by id")
    assert [(row["state"], row["session_id"]) for row in rows] == [("waiting", 1), ("done", 1)]


async def test_each_change_of_one_is_told(talk: Conversation):
    await talk.sql("delete from changes")
    await hand_off(talk)
    for change in (
        talk.owner_writes("oi"),
        talk.database.call("resume_session", {**OPERATOR, "policy": POLICY}),
    ):
        assert await talk.value("select count(*) from changes where kind = 'handoff'") == 1
        await talk.sql("delete from changes")
        await change
    assert await talk.value("select count(*) from changes where kind = 'handoff'") == 1
