"""What a flow sent that did not leave: its turn is never closed as if all of it had been said."""

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation, held
from tests.state.test_said_so_far import failed, flow_of, says


def rest(*texts: str) -> list[Json]:
    return [{"kind": "text", "body": text, "identity": text} for text in texts]


async def kept(talk: Conversation) -> list[tuple[str, str]]:
    rows = await talk.sql(
        "select body, send_state from messages where part is not null order by part"
    )
    return [(row["body"], row["send_state"]) for row in rows]


async def test_done_where_nothing_left_is_refused_by_name(talk: Conversation):
    turn = await flow_of(talk)
    await failed(talk, turn, await says(talk, turn, "Oi"))
    assert await talk.database.call("finish_turn", held(turn)) == {"refused": "not_sent"}
    assert (await talk.fail(turn))["state"] == "pending"
    assert await talk.turn_states() == ["pending"]


async def test_done_where_something_did_not_leave_is_incomplete(talk: Conversation):
    turn = await flow_of(talk)
    await talk.finish(turn, await says(talk, turn, "Oi"), "3EB01")
    await failed(talk, turn, await says(talk, turn, "Tchau"))
    told = {"ok": True, "silent": False, "incomplete": True}
    assert await talk.database.call("finish_turn", held(turn)) == told
    (closed,) = await talk.turns()
    assert (closed["state"], closed["incomplete"]) == ("sent", True)


async def test_a_handoff_after_what_did_not_leave_is_incomplete(talk: Conversation):
    turn = await flow_of(talk)
    await failed(talk, turn, await says(talk, turn, "Oi"))
    asked = {**held(turn), "reason": "pediu um humano"}
    assert (await talk.database.call("hand_off", asked))["ok"]
    (closed,) = await talk.turns()
    assert (closed["state"], closed["incomplete"]) == ("sent", True)


async def test_done_with_nothing_said_tells_that_it_is_silent(talk: Conversation):
    turn = await flow_of(talk)
    assert await talk.database.call("finish_turn", held(turn)) == {"ok": True, "silent": True}


async def test_what_comes_after_a_text_in_doubt_is_kept_and_said_later(talk: Conversation):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "um", rest=rest("dois", "três", "dois"), next_part=0)
    assert await kept(talk) == [("um", "sending"), ("dois", "failed"), ("três", "failed")]
    send = {"tenant_id": 1, "message_id": begun["message_id"]}
    doubt = {**held(turn), **send, "error": "time-out", "check_after": 3}
    await talk.database.call("doubt_send", doubt)
    await talk.travel(minutes=5)
    again = await talk.claim_one()
    assert [part["body"] for part in again["parts"]] == ["um", "dois", "três"]


async def test_what_comes_after_is_begun_in_its_own_place(talk: Conversation):
    turn = await flow_of(talk)
    first = await says(talk, turn, "um", rest=rest("dois", "três"), next_part=0)
    await talk.finish(turn, first, "3EB01")
    second = await says(talk, turn, "dois", rest=rest("três"), next_part=1)
    assert second["part"] == 1
    await talk.finish(turn, second, "3EB02")
    await talk.finish(turn, await says(talk, turn, "três", next_part=2), "3EB03")
    assert await kept(talk) == [("um", "sent"), ("dois", "sent"), ("três", "sent")]
    assert (await talk.database.call("finish_turn", held(turn)))["silent"] is False
    (closed,) = await talk.turns()
    assert (closed["state"], closed["incomplete"]) == ("sent", False)


@pytest.mark.parametrize("why", ["paused", "answered"])
async def test_what_is_refused_keeps_nothing(talk: Conversation, why: str):
    turn = await flow_of(talk)
    if why == "paused":
        await talk.owner_writes("eu respondo")
    else:
        await talk.save(turn, "Olá!")
    refused = await says(talk, turn, "um", rest=rest("dois"))
    assert refused["refused"] in ("paused", "superseded", "has_answered")
    assert await kept(talk) == []
