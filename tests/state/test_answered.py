"""What counts as answered, and that no other message is lost on the way: joins, pauses, merges."""

from router.state.database import Json
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, answered, held


async def resume(talk: Conversation, jid: str = MARIA) -> Json:
    return await talk.database.call(
        "resume_contact",
        {"tenant_id": 1, "jids": [jid], "source": "operator", "policy": POLICY},
    )


async def pause(talk: Conversation, jid: str = MARIA) -> Json:
    return await talk.database.call(
        "pause_contact", {"tenant_id": 1, "jids": [jid], "source": "operator"}
    )


async def sending(talk: Conversation, *parts: str) -> tuple[Json, Json]:
    """A turn whose first part is leaving."""
    turn = await talk.claim_one()
    await talk.save(turn, *(parts or ("Olá!",)))
    return turn, await talk.begin(turn, (parts or ("Olá!",))[0])


async def refused_by_evolution(talk: Conversation, turn: Json, begun: Json, **more: object) -> None:
    """Connection Closed: the part certainly did not leave, and may later."""
    await drop(talk, turn, begun)
    await talk.fail(turn, "away", **more)


async def drop(talk: Conversation, turn: Json, begun: Json) -> None:
    send = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("fail_send", send)


async def doubt(talk: Conversation, turn: Json, begun: Json) -> None:
    send = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call(
        "doubt_send", {**held(turn), **send, "error": "time-out", "check_after": 3}
    )


async def settle(talk: Conversation, turn: Json, begun: Json, outcome: str, **more: object) -> Json:
    return await talk.database.call(
        "settle_send",
        {
            **held(turn),
            "message_id": begun["message_id"],
            "outcome": outcome,
            "check_after": 3,
            "give_up_hours": 24,
            "late_seconds": 120,
            **more,
        },
    )


async def reclaim(talk: Conversation) -> Json:
    await talk.travel(seconds=4)
    (turn,) = await talk.claim()
    return turn


# A reply that never left is made again for what has joined (A2)


async def test_a_message_that_joins_an_undelivered_reply_is_answered_with_it(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await refused_by_evolution(talk, turn, begun)
    await talk.maria_writes("e café?")
    again = await talk.claim_one()
    assert answered(again) == ["tem bolo?", "e café?"]
    assert (again["reply"], again["parts"]) == (None, [])


async def test_also_after_three_parts_of_which_none_left(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk, "um", "dois", "três")
    await refused_by_evolution(talk, turn, begun)
    await talk.maria_writes("e café?")
    again = await talk.claim_one()
    assert (again["reply"], again["parts"]) == (None, [])


async def test_also_after_a_doubt_that_was_settled_and_one_refusal(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    second = await talk.begin(again, "Olá!")
    assert second["message_id"] != begun["message_id"]
    await refused_by_evolution(talk, again, second)
    await talk.maria_writes("e café?")
    third = await talk.claim_one()
    assert answered(third) == ["tem bolo?", "e café?"]
    assert (third["reply"], third["parts"]) == (None, [])


async def test_without_a_new_message_the_reply_is_kept_and_sent(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await refused_by_evolution(talk, turn, begun)
    again = await talk.claim_one()
    assert again["reply"] == ["Olá!"]


async def test_a_reply_of_which_a_part_is_on_the_phone_is_finished_first(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk, "um", "dois")
    await talk.finish(turn, begun, "3EB001")
    second = await talk.begin(turn, "dois", part=1)
    await refused_by_evolution(talk, turn, second)
    await talk.maria_writes("e café?")
    again = await talk.claim_one()
    assert (again["turn_id"], again["reply"]) == (turn["turn_id"], ["um", "dois"])
    await talk.finish(again, await talk.begin(again, "dois", part=1), "3EB002")
    assert await talk.turn_states() == ["sent", "pending"]
    assert answered(await talk.claim_one()) == ["e café?"]


async def test_a_flow_that_said_nothing_is_begun_anew_with_what_came_meanwhile(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 90})
    flow = {**held(turn), "kind": "text", "lease_seconds": 45}
    begun = await talk.database.call("begin_flow_send", {**flow, "body": "Oi", "identity": "a"})
    await drop(talk, turn, begun)
    await talk.maria_writes("e café?")
    await talk.travel(seconds=100)
    (again,) = await talk.claim()
    assert again["turn_id"] == turn["turn_id"]
    assert await talk.database.call("begin_anew", held(again)) == {"ok": True}
    again = await talk.claim_one()
    assert answered(again) == ["tem bolo?", "e café?"]
    assert again["parts"] == []


async def test_a_flow_that_has_spoken_is_not_begun_anew(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45}
    begun = await talk.database.call("begin_flow_send", {**flow, "body": "Oi", "identity": "a"})
    await talk.finish(turn, begun, "3EB001")
    assert (await talk.database.call("begin_anew", held(turn)))["refused"] == "has_spoken"


async def test_a_send_that_proves_late_to_have_left_is_not_repeated(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await talk.fail(again, "away")
    assert await talk.turn_states() == ["pending"]
    late = await talk.owner_writes("Olá!", wa_id="3EB001", origin="send", status="PENDING")
    assert late["decision"] == "own_message"
    assert await talk.turn_states() == ["sent"]


async def test_nor_is_its_rest_forgotten(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk, "um", "dois")
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await talk.fail(again, "away")
    await talk.owner_writes("um", wa_id="3EB001", origin="send", status="PENDING")
    await talk.maria_writes("e café?")
    rest = await talk.claim_one()
    assert rest["reply"] == ["um", "dois"]
    assert [part["send_state"] for part in rest["parts"]] == ["sent"]


# Resume answers what nobody has answered (A5)


async def test_what_waited_behind_a_reply_is_answered_after_a_pause(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await talk.maria_writes("e café?")
    await talk.finish(turn, begun, "3EB001")
    await pause(talk)
    await talk.travel(seconds=2)
    assert (await resume(talk))["turn_id"] is not None
    assert answered(await talk.claim_one()) == ["e café?"]


async def test_what_came_late_while_paused_is_answered(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.answer()
    await pause(talk)
    await talk.maria_writes("esqueci: e café?", ago=60)
    await resume(talk)
    assert answered(await talk.claim_one()) == ["esqueci: e café?"]


async def test_what_was_written_after_the_owner_is_answered(talk: Conversation):
    await talk.maria_writes("tem bolo?", ago=30)
    await talk.owner_writes("já vejo", ago=20)
    await talk.maria_writes("e café?", ago=10)
    await resume(talk)
    assert answered(await talk.claim_one()) == ["e café?"]


async def test_what_a_human_answered_is_not_answered_again(talk: Conversation):
    await talk.maria_writes("tem bolo?", ago=30)
    await talk.owner_writes("tem sim", ago=20)
    assert (await resume(talk))["turn_id"] is None


async def test_a_pause_over_rest_answers_nothing_by_itself(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await pause(talk)
    await resume(talk)
    assert answered(await talk.claim_one()) == ["tem bolo?"]


async def test_a_message_of_no_turn_that_a_reply_saw_is_answered(talk: Conversation):
    (flood,) = await talk.ingest(talk.message("spam") | {"flood": True})
    assert flood["decision"] == "flood"
    await talk.maria_writes("tem bolo?")
    await talk.answer()
    await pause(talk)
    assert (await resume(talk))["turn_id"] is None


async def given_up(talk: Conversation) -> None:
    """A message whose turn is dead: Evolution says that the number is not on WhatsApp."""
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await drop(talk, turn, begun)
    await talk.fail(turn, "permanent")
    assert (await talk.turn_states())[-1] == "dead"


async def test_a_message_whose_turn_died_is_answered_by_the_reply_that_saw_it(talk: Conversation):
    await given_up(talk)
    await talk.maria_writes("e café?")
    await talk.answer("De bolo e de café temos.")
    await pause(talk)
    assert (await resume(talk))["turn_id"] is None


async def test_and_by_one_that_may_have_left(talk: Conversation):
    await given_up(talk)
    await talk.maria_writes("e café?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    await pause(talk)
    assert (await resume(talk))["turn_id"] is None
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    assert answered(await talk.claim_one()) == ["tem bolo?", "e café?"]


async def test_a_reply_of_another_session_did_not_see_it(talk: Conversation):
    await given_up(talk)
    await talk.maria_writes("e café?", jids=(MARIA_LID,))
    await talk.answer()
    await talk.maria_writes("oi", jids=(MARIA, MARIA_LID), expects_reply=False)  # one person
    await pause(talk)
    assert (await resume(talk))["turn_id"] is not None
    assert answered(await talk.claim_one()) == ["tem bolo?"]


async def test_what_a_later_reply_answered_stays_so_after_a_merge(talk: Conversation):
    await given_up(talk)
    await talk.maria_writes("e café?")
    await talk.answer("De bolo e de café temos.")
    await talk.maria_writes("olá", jids=(MARIA_LID,), expects_reply=False)
    await talk.maria_writes("oi", jids=(MARIA, MARIA_LID), expects_reply=False)
    await pause(talk)
    assert (await resume(talk))["turn_id"] is None


async def test_what_may_be_on_the_phone_is_not_answered_again_until_that_is_known(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    await pause(talk)
    assert (await resume(talk))["turn_id"] is None
    again = await reclaim(talk)
    await settle(talk, again, begun, "sent", wa_id="3EB001")
    assert await talk.turn_states() == ["sent"]


async def test_and_is_answered_when_it_proves_not_to_be(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    await pause(talk)
    await resume(talk)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    assert await talk.turn_states() == ["cancelled", "pending"]
    assert answered(await talk.claim_one()) == ["tem bolo?"]


# An old right to speak ends with the pause (A10)


async def test_a_turn_that_was_paused_while_it_was_sending_says_no_more_after_the_resume(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await pause(talk)
    await resume(talk)
    assert (await talk.begin(again, "Olá!"))["refused"] == "paused"
    assert answered(await talk.claim_one()) == ["tem bolo?"]


async def test_nor_between_two_parts(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk, "um", "dois")
    await pause(talk)
    await talk.finish(turn, begun, "3EB001")
    await resume(talk)
    assert (await talk.begin(turn, "dois", part=1))["refused"] == "paused"
    (row,) = await talk.turns()
    assert (row["state"], row["incomplete"], row["reason"]) == ("sent", True, "paused")


# Merging (A6)


async def test_merging_loses_no_turn_whose_send_is_in_doubt(talk: Conversation):
    await talk.maria_writes("M0", jids=[MARIA_LID])
    await talk.maria_writes("M1", jids=[MARIA])
    await talk.travel(seconds=11)
    running, doubtful = sorted(await talk.claim(), key=answered)
    await talk.save(doubtful, "resposta a M1")
    begun = await talk.begin(doubtful, "resposta a M1")
    await doubt(talk, doubtful, begun)
    await talk.maria_writes("M2", jids=[MARIA, MARIA_LID])
    assert await talk.turn_states() == ["running", "sending", "pending"]
    await talk.travel(seconds=4)
    (again,) = await talk.claim()
    assert again["turn_id"] == doubtful["turn_id"]
    await settle(talk, again, begun, "not_sent")
    await talk.finish(again, await talk.begin(again, "resposta a M1"), "3EB001")
    await talk.save(running, "resposta a M0")
    await talk.finish(running, await talk.begin(running, "resposta a M0"), "3EB002")
    assert answered(await talk.claim_one()) == ["M2"]
    assert await talk.turn_states() == ["sent", "sent", "running"]
