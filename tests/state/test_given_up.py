"""A part of a reply that can never be had is given up by name; what follows it is said."""

from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation, held
from tests.state.test_answered import doubt, reclaim, settle
from tests.state.test_flows_that_answer import answers
from tests.state.test_said_so_far import flow_of, says, so_far

WHY = "the media of the flow's answer: its URL answered 404"
URL = "https://padaria.example/bolo.png"


def picture(caption: str | None = None) -> Json:
    body = {"mediatype": "image", "media": URL} | ({"caption": caption} if caption else {})
    return {"path": "message/sendMedia", "body": body}


async def answering(talk: Conversation, *parts: Any) -> Json:
    turn = await flow_of(talk)
    assert await answers(talk, turn, list(parts)) == {"ok": True}
    return turn


async def give_up(talk: Conversation, turn: Json, part: int | None = 0, **more: Any) -> Json:
    asked = {"kind": "image", "body": "[image]", "identity": "bolo", "error": WHY} | more
    return await talk.database.call("give_up_part", {**held(turn), "part": part} | asked)


async def send(talk: Conversation, turn: Json, text: str, part: int) -> Json:
    begun = await talk.begin(turn, text, part)
    return await talk.finish(turn, begun, f"3EB0{part:08X}")


async def the_turn(talk: Conversation) -> dict[str, Any]:
    (turn,) = await talk.turns()
    return turn


async def test_what_follows_is_said_and_the_turn_is_incomplete(talk: Conversation):
    turn = await answering(talk, "um", picture(), "três")
    await send(talk, turn, "um", 0)
    given_up = await give_up(talk, turn, 1)
    assert (given_up["ok"], given_up["turn_state"]) == (True, "sending")
    assert (await send(talk, turn, "três", 2))["turn_state"] == "sent"
    row = await the_turn(talk)
    assert (row["state"], row["incomplete"], row["error_kind"]) == ("sent", True, "given_up")
    assert row["error"] == f"part 2 (image) is given up: {WHY}"
    (lost,) = await talk.sql("select * from messages where given_up is not null")
    assert (lost["part"], lost["send_state"], lost["sends"]) == (1, "failed", 0)
    assert lost["given_up"] == WHY


async def test_as_the_last_part_it_closes_the_turn(talk: Conversation):
    turn = await answering(talk, "um", picture())
    await send(talk, turn, "um", 0)
    assert (await give_up(talk, turn, 1))["turn_state"] == "sent"
    assert (await the_turn(talk))["incomplete"]


async def test_a_turn_of_which_nothing_can_be_had_is_dead(talk: Conversation):
    turn = await answering(talk, picture(), picture())
    assert (await give_up(talk, turn, 0))["turn_state"] == "running"
    assert (await give_up(talk, turn, 1))["turn_state"] == "dead"
    row = await the_turn(talk)
    assert (row["state"], row["error_kind"], row["incomplete"]) == ("dead", "permanent", False)
    assert "part 1 (image)" in row["error"]
    assert "part 2 (image)" in row["error"]


async def test_a_caption_is_said_in_its_place(talk: Conversation):
    turn = await answering(talk, picture("Bolo de milho"), "dois")
    answer = await give_up(talk, turn)
    assert answer["reply"] == [picture("Bolo de milho"), "Bolo de milho", "dois"]
    assert (await give_up(talk, turn)) == answer  # told twice, it counts once
    await send(talk, turn, "Bolo de milho", 1)
    assert (await send(talk, turn, "dois", 2))["turn_state"] == "sent"


async def test_the_caption_of_the_last_part_keeps_the_turn_open(talk: Conversation):
    turn = await answering(talk, picture("Bolo de milho"))
    assert (await give_up(talk, turn))["turn_state"] == "running"
    assert (await send(talk, turn, "Bolo de milho", 1))["turn_state"] == "sent"
    assert (await the_turn(talk))["incomplete"]


async def test_another_attempt_passes_it_over(talk: Conversation):
    turn = await answering(talk, picture("Bolo"), "dois")
    await give_up(talk, turn)
    await talk.database.call("release_turn", held(turn))
    again = await talk.claim_one()
    assert again["reply"] == [picture("Bolo"), "Bolo", "dois"]
    assert [(part["part"], part["given_up"]) for part in again["parts"]] == [(0, True)]
    await send(talk, again, "Bolo", 1)
    assert (await send(talk, again, "dois", 2))["turn_state"] == "sent"


async def test_what_evolution_refused_is_given_up_as_it_fails(talk: Conversation):
    turn = await answering(talk, "um", picture("Bolo"), "três")
    await send(talk, turn, "um", 0)
    begun = await talk.begin(turn, "[image]", 1)
    of = {"tenant_id": 1, "message_id": begun["message_id"], "chosen_id": begun["chosen_id"]}
    for _ in range(2):
        await talk.database.call("fail_send", {**of, "given_up": "400: no"})
    answer = await give_up(talk, turn, 1, error="400: no")
    assert answer["reply"] == ["um", picture("Bolo"), "Bolo", "três"]
    await send(talk, turn, "Bolo", 2)
    assert (await send(talk, turn, "três", 3))["turn_state"] == "sent"
    assert (await the_turn(talk))["error"] == "part 2 (text) is given up: 400: no"


async def test_when_it_is_the_last_the_answer_is_still_heard(talk: Conversation):
    """Its failure was told before, and has closed the turn."""
    turn = await answering(talk, "um", "dois")
    await send(talk, turn, "um", 0)
    begun = await talk.begin(turn, "dois", 1)
    of = {"tenant_id": 1, "message_id": begun["message_id"]}
    await talk.database.call("fail_send", {**of, "given_up": "400: no"})
    assert (await the_turn(talk))["state"] == "sent"
    assert (await give_up(talk, turn, 1, kind="text"))["turn_state"] == "sent"


async def test_it_passes_the_fence(talk: Conversation):
    turn = await answering(talk, picture(), "dois")
    await talk.owner_writes("eu respondo")
    assert await give_up(talk, turn) == {"refused": "paused"}
    assert await give_up(talk, {**turn, "token": "0198c0de-0000-7000-8000-000000000001"}) == {
        "refused": "stale"
    }
    assert (await the_turn(talk))["state"] == "cancelled"


@pytest.mark.parametrize("state", ["sent", "unknown"])
async def test_what_may_be_on_the_phone_is_not_given_up(talk: Conversation, state: str):
    turn = await answering(talk, picture(), "dois")
    await talk.begin(turn, "[image]", 0)
    await talk.sql(f"update messages set send_state = '{state}' where part = 0")
    refused = (await give_up(talk, turn))["refused"]
    assert refused == {"sent": "already_sent", "unknown": "in_doubt"}[state]


async def test_a_handoff_behind_it_is_done(talk: Conversation):
    turn = await answering(talk, picture(), {"handoff": {"reason": "quer falar"}})
    assert (await give_up(talk, turn))["turn_state"] == "running"
    assert (await talk.database.call("hand_off", {**held(turn), "reason": "quer falar"}))["ok"]
    row = await the_turn(talk)
    assert (row["state"], row["reason"], row["incomplete"]) == ("sent", "handoff", True)


async def test_a_new_message_has_the_reply_made_again(talk: Conversation):
    turn = await answering(talk, picture(), "dois")
    await give_up(talk, turn)
    await talk.maria_writes("e pão?")
    await talk.database.call("release_turn", held(turn))
    again = await talk.claim_one()
    assert (again["reply"], again["parts"]) == (None, [])


@pytest.mark.parametrize(("part", "kept"), [(picture(), None), ("um", ["um"])])
async def test_a_person_who_retries_has_another_try_at_it(
    talk: Conversation, part: Any, kept: object
):
    turn = await answering(talk, part)
    await give_up(talk, turn, kind="text" if part == "um" else "image")
    await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": turn["turn_id"]})
    again = await talk.claim_one()
    assert again["reply"] == kept
    assert not any(each["given_up"] for each in again["parts"])


async def test_the_business_is_told_once_an_hour(talk: Conversation):
    turn = await answering(talk, picture(), picture(), "três")
    for part in (0, 1):
        await give_up(talk, turn, part)
    (notice,) = await talk.sql("select * from notices")
    assert notice["kind"] == "undelivered"
    assert notice["facts"]["reason"] == f"part 1 (image): {WHY}"
    assert notice["facts"]["contact_name"] == "Maria"
    await talk.sql("update notices set state = 'delivered', finished_at = now()")
    await send(talk, turn, "três", 2)
    await talk.travel(minutes=61)
    again = await answering(talk, picture(), "dois")
    await give_up(talk, again)
    assert await talk.value("select count(*) from notices") == 2


async def test_it_does_not_stand_in_the_way_of_a_worse_notice(talk: Conversation):
    """Nor is what WhatsApp does not deliver told less often for it."""
    turn = await answering(talk, picture(), "dois")
    await give_up(talk, turn)
    await talk.sql("update notices set state = 'delivered', finished_at = now()")
    await send(talk, turn, "dois", 1)
    await talk.sql(
        "update messages set failed_at = now(), failed_since = '2026-01-01' where part = 1"
    )
    await talk.sql(
        "insert into messages (tenant_id, session_id, turn_id, from_me, sender, sent_at,"
        " send_state, failed_at, failed_since) select tenant_id, session_id, turn_id, true, 'ai',"
        " now(), 'sent', now(), '2026-01-01' from messages, generate_series(1, 2) where part = 1"
    )
    await talk.sql("select hybridflow.notice_undelivered(1)")
    rows = await talk.sql("select facts from notices order by id")
    assert ["since" in row["facts"] for row in rows] == [False, True]


async def test_what_a_flow_sends_by_itself_is_given_up_without_a_part(talk: Conversation):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "um", next_part=0)
    await talk.finish(turn, begun, "3EB01")
    for _ in range(2):
        assert (await give_up(talk, turn, None, text="Bolo\nbolo.png"))["ok"]
    assert await so_far(talk, turn) == ("um\n\nBolo\nbolo.png", 2)
    assert (await talk.database.call("finish_turn", held(turn)))["ok"]  # nothing is cut off
    row = await the_turn(talk)
    assert (row["state"], row["incomplete"]) == ("sent", True)
    assert await talk.value("select count(*) from notices") == 0  # its flow was told


async def test_a_flow_may_ask_for_it_again(talk: Conversation):
    turn = await flow_of(talk)
    await give_up(talk, turn, None)
    begun = await says(talk, turn, "bolo", kind="image")
    assert begun["ok"]
    await talk.finish(turn, begun, "3EB01")
    assert (await talk.database.call("finish_turn", held(turn)))["ok"]
    assert not (await the_turn(talk))["incomplete"]


async def test_a_flow_of_which_nothing_left_is_not_done(talk: Conversation):
    turn = await flow_of(talk)
    await give_up(talk, turn, None)
    assert await talk.database.call("finish_turn", held(turn)) == {"refused": "not_sent"}


async def test_the_reply_that_has_grown_is_not_written_down_anew(talk: Conversation):
    turn = await answering(talk, picture("Bolo"))
    begun = await talk.begin(turn, "[image]", 0)
    of = {"tenant_id": 1, "message_id": begun["message_id"], "chosen_id": begun["chosen_id"]}
    await talk.database.call("fail_send", {**of, "given_up": "400: no"})
    assert await answers(talk, turn, [picture("Bolo")]) == {"ok": True}
    assert (await give_up(talk, turn, error="400: no"))["reply"] == [picture("Bolo"), "Bolo"]


async def test_what_may_still_show_up_late_keeps_its_own_row(talk: Conversation):
    turn = await answering(talk, picture("Bolo"), "dois")
    begun = await talk.begin(turn, "[image]", 0)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await give_up(talk, again)
    first, second = await talk.sql(
        "select part, given_up, late_until from messages where from_me order by id"
    )
    assert (first["part"], first["given_up"]) == (None, None)
    assert first["late_until"] is not None
    assert (second["part"], second["given_up"], second["late_until"]) == (0, WHY, None)


async def test_what_is_in_doubt_every_time_is_given_up_in_the_end(talk: Conversation):
    turn = await answering(talk, picture("Bolo"), "dois")
    for turn_of_five in range(5):
        begun = await talk.begin(turn, "[image]", 0)
        await doubt(talk, turn, begun)
        turn = await reclaim(talk)
        told = await settle(talk, turn, begun, "not_sent")
        assert told.get("given_up", False) is (turn_of_five == 4)
    assert await talk.turn_states() == ["sending"]
    again = await reclaim(talk)
    assert again["reply"] == [picture("Bolo"), "Bolo", "dois"]
    assert [part["part"] for part in again["parts"] if part["given_up"]] == [0]
    await send(talk, again, "Bolo", 1)
    assert (await send(talk, again, "dois", 2))["turn_state"] == "sent"
    assert (await the_turn(talk))["incomplete"]
