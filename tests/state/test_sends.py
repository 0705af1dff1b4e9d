"""The fence, our own echoes in any order, and sends in doubt."""

from collections.abc import Sequence

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, held


async def sending(
    talk: Conversation, body: str = "Olá, Maria!", jids: Sequence[str] = (MARIA,)
) -> tuple[Json, Json]:
    await talk.maria_writes("oi", jids=jids)
    turn = await talk.claim_one()
    await talk.save(turn, body)
    return turn, await talk.begin(turn, body)


async def test_the_echo_after_the_rest_answer_is_ours(talk: Conversation):
    turn, begun = await sending(talk)
    await talk.finish(turn, begun, "3EB0AA")
    echo = await talk.owner_writes("Olá, Maria!", wa_id="3EB0AA", origin="send", status="PENDING")
    assert echo["decision"] == "own_message"
    again = await talk.owner_writes("Olá, Maria!", wa_id="3EB0AA")
    assert again["decision"] == "own_message"
    assert not (await talk.session())["is_paused"]


async def test_the_echo_before_the_rest_answer_is_ours_by_text_and_time(talk: Conversation):
    turn, begun = await sending(talk)
    echo = await talk.owner_writes(
        " Olá,  Maria! ", wa_id="3EB0AA", origin="send", status="PENDING"
    )
    assert echo["decision"] == "own_message"
    assert await talk.turn_states() == ["sent"]
    assert (await talk.finish(turn, begun, "3EB0AA"))["turn_state"] == "sent"
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá, Maria!")]


async def test_the_owner_repeating_our_words_later_is_a_takeover(talk: Conversation):
    turn, begun = await sending(talk)
    await talk.finish(turn, begun, "3EB0AA")
    assert (await talk.owner_writes("Olá, Maria!", wa_id="ACFFFF"))["decision"] == "takeover"


async def test_the_owner_writing_something_else_during_the_send_is_a_takeover(talk: Conversation):
    await sending(talk)
    assert (await talk.owner_writes("deixa comigo"))["decision"] == "takeover"


async def test_an_echo_that_could_not_be_matched_is_taken_back_with_its_pause(talk: Conversation):
    turn, begun = await sending(talk)
    odd = await talk.owner_writes("Olá, Maria! ✨", wa_id="3EB0AA")
    assert odd["decision"] == "takeover"
    await talk.finish(turn, begun, "3EB0AA")
    session = await talk.session()
    assert not session["is_paused"]
    assert session["last_human_at"] is None
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá, Maria!")]


async def test_an_echo_under_a_rewritten_number_is_ours_and_the_number_is_learned(
    talk: Conversation,
):
    known, rewritten = "5531985550001@s.whatsapp.net", "553185550001@s.whatsapp.net"
    turn, begun = await sending(talk, jids=[known])
    echo = await talk.owner_writes("Olá, Maria!", wa_id="3EB0AA", jids=[rewritten], origin="send")
    assert echo["decision"] == "own_message"
    await talk.finish(turn, begun, "3EB0AA", jid=rewritten)
    assert (await talk.session(rewritten))["id"] == (await talk.session(known))["id"]


async def test_the_same_words_to_the_landline_with_a_mobiles_digits_are_the_owners(
    talk: Conversation,
):
    await sending(talk, jids=["5511931234567@s.whatsapp.net"])
    landline = ["551131234567@s.whatsapp.net"]
    assert (await talk.owner_writes("Olá, Maria!", jids=landline))["decision"] == "takeover"


async def test_the_same_words_to_somebody_else_are_not_our_echo(talk: Conversation):
    await sending(talk)
    assert (await talk.owner_writes("Olá, Maria!", jids=[JOAO]))["decision"] == "takeover"


async def test_a_part_in_doubt_is_refused_by_the_fence(talk: Conversation):
    turn, begun = await sending(talk)
    assert (await talk.begin(turn, "Olá, Maria!"))["refused"] == "in_doubt"
    await doubt(talk, turn, begun)
    assert (await talk.begin(turn, "Olá, Maria!"))["refused"] == "in_doubt"


async def test_a_crash_after_begin_send_comes_back_as_a_doubt_that_costs_no_attempt(
    talk: Conversation,
):
    turn, _ = await sending(talk)
    await talk.travel(seconds=60)
    (again,) = await talk.claim()
    assert (again["attempt"], again["parts"][0]["send_state"]) == (turn["attempt"], "sending")


async def test_a_doubt_settled_by_a_webhook_closes_the_turn(talk: Conversation):
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    await talk.owner_writes("Olá, Maria!", wa_id="3EB0AA", origin="send", status="PENDING")
    assert await talk.turn_states() == ["sent"]
    await talk.travel(seconds=60)
    assert await talk.claim() == []


async def test_a_doubt_settled_as_sent_closes_the_turn(talk: Conversation):
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    settled = await settle(talk, again, begun, "sent", wa_id="3EB0AA")
    assert settled["turn_state"] == "sent"


async def test_a_doubt_settled_as_not_sent_may_be_sent_again_but_not_after_a_takeover(
    talk: Conversation,
):
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await talk.owner_writes("deixa comigo")
    assert (await talk.begin(again, "Olá, Maria!"))["refused"] == "paused"
    assert await talk.turn_states() == ["cancelled"]


async def test_a_late_echo_of_a_send_that_was_repeated_is_still_ours(talk: Conversation):
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    second = await talk.begin(again, "Olá, Maria!")
    late = await talk.owner_writes("Olá, Maria!", wa_id="3EB0AA", origin="send")
    assert late["decision"] == "own_message"
    await talk.finish(again, second, "3EB0BB")
    echo = await talk.owner_writes("Olá, Maria!", wa_id="3EB0BB", origin="send")
    assert echo["decision"] == "own_message"
    assert not (await talk.session())["is_paused"]


async def test_an_unknown_outcome_is_looked_up_again_and_dies_after_a_day_never_sent_twice(
    talk: Conversation,
):
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    assert (await settle(talk, again, begun, "unknown"))["turn_state"] == "sending"
    await talk.travel(hours=25)
    (last,) = await talk.claim()
    assert (await settle(talk, last, begun, "unknown"))["turn_state"] == "dead"


async def test_a_delivery_state_that_overtakes_the_rest_answer_is_kept_for_the_message(
    talk: Conversation,
):
    turn, begun = await sending(talk)
    await talk.ingest(status(talk, "3EB0AA", "read"), status(talk, "3EB0AA", "delivery_ack"))
    await talk.finish(turn, begun, "3EB0AA")
    assert await talk.value("select status from messages where wa_id = '3EB0AA'") == "read"


async def test_a_failed_send_can_be_begun_again_by_the_next_attempt(talk: Conversation):
    turn, begun = await sending(talk)
    await talk.fail(turn, message_id=begun["message_id"])
    again = await talk.claim_one()
    assert again["reply"] == ["Olá, Maria!"]
    retried = await talk.begin(again, "Olá, Maria!")
    assert retried["message_id"] == begun["message_id"]


async def test_finishing_after_the_lease_is_still_recorded(talk: Conversation):
    turn, begun = await sending(talk)
    await talk.travel(minutes=10)
    assert (await talk.finish(turn, begun, "3EB0AA"))["turn_state"] == "sent"


async def test_sessions_that_merge_while_both_send_lose_nothing_and_repeat_nothing(
    talk: Conversation,
):
    await talk.maria_writes("oi", jids=[MARIA])
    await talk.maria_writes("olá", jids=[MARIA_LID])
    await talk.travel(seconds=11)
    one, two = await talk.claim()
    begun = [await talk.begin(turn, "Oi!") for turn in (one, two)]
    await talk.maria_writes("sou a mesma", jids=[MARIA, MARIA_LID])
    for turn, part, wa_id in ((one, begun[0], "3EB001"), (two, begun[1], "3EB002")):
        await talk.finish(turn, part, wa_id)
    await talk.save(one, "Oi!")
    for turn in (one, two):
        await talk.database.call("finish_turn", {**held(turn), "reason": None})
    assert sorted(await talk.turn_states()) == ["pending", "sent", "sent"]


async def doubt(talk, turn, begun):
    await talk.database.call(
        "doubt_send",
        {
            **held(turn),
            "tenant_id": turn["tenant"]["tenant_id"],
            "message_id": begun["message_id"],
            "error": "time-out",
            "check_after": 3,
        },
    )


async def reclaim(talk):
    await talk.travel(seconds=4)
    (turn,) = await talk.claim()
    return turn


async def settle(talk, turn, begun, outcome, wa_id=None):
    return await talk.database.call(
        "settle_send",
        {
            **held(turn),
            "message_id": begun["message_id"],
            "outcome": outcome,
            "wa_id": wa_id,
            "error": "looked",
            "check_after": 3,
            "give_up_hours": 24,
            "late_seconds": 120,
        },
    )


def status(talk, wa_id, state):
    return {
        "instance": talk.instance,
        "event": "messages.update",
        "type": "status",
        "key": f"messages.update:{wa_id}:{state}",
        "wa_id": wa_id,
        "jids": [MARIA],
        "status": state,
    }
