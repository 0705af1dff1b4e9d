"""Sequences of events that broke a promise: messages lost, answered twice, turns without an end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from router.errors import Conflict
from router.state.database import Json
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, answered, held
from tests.state.test_answered import (
    doubt,
    drop,
    pause,
    reclaim,
    refused_by_evolution,
    resume,
    sending,
    settle,
)
from tests.state.test_outbox import claim_doubts
from tests.state.transports import over_postgresql


async def doubted_and_not_sent(talk: Conversation, *parts: str) -> tuple[Json, Json]:
    """A part that was judged not to have left, after a doubt; the turn has it again."""
    turn, begun = await sending(talk, *parts)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    return again, begun


async def late_echo(talk: Conversation, words: str = "Olá!", wa_id: str = "3EB0FF") -> None:
    late = await talk.owner_writes(words, wa_id=wa_id, origin="send", status="PENDING")
    assert late["decision"] == "own_message"


# A reply that proves late to have left answers only what it was made for


async def test_a_late_reply_does_not_answer_what_was_written_while_it_was_made(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.maria_writes("e café?")
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await talk.fail(again, "away")
    await late_echo(talk)
    assert "e café?" in answered(await talk.claim_one())


async def test_nor_what_was_written_elsewhere_before_the_sessions_were_merged(talk: Conversation):
    await talk.maria_writes("tem bolo?", jids=[MARIA])
    turn = await talk.claim_one()
    await talk.maria_writes("e café?", jids=[MARIA_LID])
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    await doubt(talk, turn, begun)
    await talk.travel(seconds=4)
    (again,) = [t for t in await talk.claim() if t["turn_id"] == turn["turn_id"]]
    await settle(talk, again, begun, "not_sent")
    await talk.fail(again, "away")
    await talk.sql(
        "update turns set state = 'pending', run_after = run_after + interval '1 hour',"
        " token_hash = null, lease_until = null where state = 'running'"
    )
    learnt = talk.message("tem bolo?", jids=[MARIA_LID, MARIA], kind="reaction")
    await talk.ingest(learnt)
    await late_echo(talk)
    assert "pending" in await talk.turn_states()


async def test_nor_does_its_turn_end_with_the_next_failure(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, _ = await doubted_and_not_sent(talk)
    await talk.fail(turn, "away")
    await talk.maria_writes("e café?")
    await late_echo(talk)
    again = await talk.claim_one()
    assert (await talk.fail(again, "transient"))["state"] == "pending"


async def test_nor_is_a_message_answered_by_it_that_joined_its_turn_before_a_pause(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    turn, _ = await doubted_and_not_sent(talk)
    await talk.fail(turn, "away")
    await talk.maria_writes("e café?")
    await late_echo(talk)
    await pause(talk)
    await resume(talk)
    assert "e café?" in answered(await talk.claim_one())


# A send that was begun again, and shows up late under its first name, is not repeated


async def test_a_part_that_shows_up_late_after_its_repetition_was_refused_is_not_sent_a_third_time(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    turn, _ = await doubted_and_not_sent(talk)
    await refused_by_evolution(talk, turn, await talk.begin(turn, "Olá!"))
    await late_echo(talk)
    assert await talk.turn_states() == ["sent"]


async def test_nor_is_a_flows(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45, "body": "Oi", "identity": "a"}
    first = await talk.database.call("begin_flow_send", flow)
    await talk.database.call(
        "settle_send",
        {
            **held(turn), "message_id": first["message_id"], "outcome": "not_sent",
            "check_after": 3, "give_up_hours": 24,
        },
    )  # fmt: skip
    await drop(talk, turn, await talk.database.call("begin_flow_send", flow))
    await late_echo(talk, "Oi")
    again = await talk.database.call("begin_flow_send", flow)
    assert (again.get("refused"), again.get("wa_id")) == ("already_sent", "3EB0FF")


async def test_a_reply_made_anew_is_not_said_when_the_first_shows_up_after_all(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45, "body": "Oi", "identity": "a"}
    first = await talk.database.call("begin_flow_send", flow)
    await doubt(talk, turn, first)
    again = await reclaim(talk)
    await settle(talk, again, first, "not_sent")
    await talk.database.call("begin_anew", held(again))
    again = await talk.claim_one()
    await talk.save(again, "Outra resposta")
    await late_echo(talk, "Oi")
    assert "refused" in await talk.begin(again, "Outra resposta")


# What is told late of an earlier try says nothing of the present one


async def test_that_an_earlier_try_failed_is_not_held_against_the_next(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    failed = {"tenant_id": 1, "message_id": begun["message_id"], "chosen_id": begun["chosen_id"]}
    await talk.database.call("fail_send", failed)
    second = await talk.begin(turn, "Olá!")
    assert second["message_id"] == begun["message_id"]
    await talk.database.call("fail_send", failed)  # its first answer was lost
    await doubt(talk, turn, second)
    assert (await talk.begin(turn, "Olá!"))["refused"] == "in_doubt"


# Equal words


async def test_two_equal_texts_whose_echoes_come_crosswise_are_both_kept(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45, "body": "Oi"}
    one = await talk.database.call("begin_flow_send", {**flow, "identity": "a"})
    two = await talk.database.call("begin_flow_send", {**flow, "identity": "b"})
    await late_echo(talk, "Oi", wa_id="3EB0B2")  # the second one's, taken for the first one's
    await talk.finish(turn, one, "3EB0A1")
    await talk.finish(turn, two, "3EB0B2")
    again = await talk.database.call("begin_flow_send", {**flow, "identity": "a"})
    assert (again.get("refused"), again.get("wa_id")) == ("already_sent", "3EB0A1")
    again = await talk.database.call("begin_flow_send", {**flow, "identity": "b"})
    assert (again.get("refused"), again.get("wa_id")) == ("already_sent", "3EB0B2")
    assert await talk.value("select count(*) from messages where from_me") == 2


# Turns that end, and messages that do not


async def test_a_handoff_while_a_send_is_in_doubt_leaves_nothing_in_doubt_for_ever(
    talk: Conversation,
):
    await talk.maria_writes("gente!")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45, "body": "Oi", "identity": "a"}
    begun = await talk.database.call("begin_flow_send", flow)
    await doubt(talk, turn, begun)
    assert (await talk.database.call("hand_off", {**held(turn), "reason": "x"}))["ok"]
    assert (await talk.database.call("hand_off", {**held(turn), "reason": "x"}))["already"]
    assert await talk.value("select count(*) from notices") == 1
    again = await reclaim(talk)
    await settle(talk, again, begun, "sent", wa_id="3EB001")
    (row,) = await talk.turns()
    assert (row["state"], row["reason"]) == ("sent", "handoff")


async def test_a_dead_turn_whose_reply_is_on_the_phone_by_now_is_done_when_it_is_retried(
    talk: Conversation,
):
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    await talk.travel(hours=25)
    (again,) = await talk.claim()
    await settle(talk, again, begun, "unknown")
    assert await talk.turn_states() == ["dead"]
    await talk.finish(again, begun, "3EB001")
    await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": turn["turn_id"]})
    assert await talk.turn_states() == ["sent"]


async def test_a_dead_turn_is_not_retried_when_another_answers_its_messages(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.fail(turn, "permanent")
    await pause(talk)
    await resume(talk)
    await talk.answer()
    with pytest.raises(Conflict):
        await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": turn["turn_id"]})


async def test_a_turn_that_a_false_takeover_stopped_in_its_last_attempt_says_the_rest(
    talk: Conversation,
):
    await talk.set_rule("other_client_takeover", False)
    await talk.maria_writes("tem bolo?")
    turn, begun = await sending(talk, "um", "dois")
    await talk.finish(turn, begun, "3EB001")
    await talk.sql("update turns set attempt = 5")
    await talk.owner_writes("seu pedido saiu", wa_id="3EB0AA")
    await talk.owner_writes("seu pedido saiu", wa_id="3EB0AA", origin="send")
    (again,) = await talk.claim(max_attempts=5)
    assert again["reply"] == ["um", "dois"]


# Notices


async def test_a_notice_that_never_left_gives_way_to_a_newer_one_of_its_kind(talk: Conversation):
    await talk.set_rule("notify_number", "5511900009999")
    make = "select hybridflow.make_notice(1, 'undelivered', null, '{}', hybridflow.clock())"
    await talk.sql(make)
    claim = {"limit": 5, "lease_seconds": 60, "max_attempts": 5}
    (notice,) = (await talk.database.call("claim_notices", claim))["notices"]
    token = {"notice_id": notice["notice_id"], "token": notice["token"]}
    begun = await talk.database.call(
        "begin_notice_send", {**token, "body": "venha", "lease_seconds": 45}
    )
    send = {"tenant_id": 1, "message_id": begun["message_id"]}
    await talk.database.call("doubt_send", {**send, "error": "time-out", "check_after": 3})
    await talk.database.call("finish_notice", {**token, "handler": "fallback"})
    await talk.sql(make)
    found = {**send, "outcome": "not_sent", "check_after": 3, "give_up_hours": 24}
    found["late_seconds"] = 600
    assert await talk.database.call("settle_doubt", found) == {"ok": True}
    await talk.travel(seconds=100)
    assert await claim_doubts(talk) == []


# Who wrote


async def test_whom_gap_repair_took_for_a_greeting_and_is_another_client_takes_over(
    talk: Conversation,
):
    await talk.set_rule("auto_reply_seconds", 5)
    await talk.maria_writes("tem bolo?", ago=2)
    greeting = await talk.owner_writes("oi, aqui é a Ana", wa_id="3EB0AA", ago=1)
    assert greeting["decision"] == "automatic_reply"
    await talk.owner_writes("oi, aqui é a Ana", wa_id="3EB0AA", origin="send", ago=1)
    assert (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["cancelled"]


# Pauses that run out


async def test_what_was_written_in_a_pause_is_answered_whatever_ends_it(talk: Conversation):
    await talk.owner_writes("oi", ago=60)
    await talk.travel(minutes=100)
    await talk.maria_writes("tem bolo?")
    await talk.travel(minutes=30)
    await talk.maria_writes("👍", kind="reaction")
    assert not (await talk.session())["is_paused"]
    assert answered(await talk.claim_one()) == ["tem bolo?"]


# Merging while somebody waits for the session


async def merged_while_it_waits(
    talk: Conversation, database_url: str, waiting: Callable[[], Coroutine[Any, Any, Json]]
) -> Json:
    """Merge Maria's two sessions in a transaction that ends when somebody waits for it."""
    event = talk.message("oi de novo", jids=[MARIA, MARIA_LID])
    async with (
        over_postgresql(database_url) as other,
        other._pool.acquire() as merging,
    ):
        async with merging.transaction():
            await merging.fetchval(
                "select public.ingest_events($1)", {"events": [event], "policy": POLICY}
            )
            task = asyncio.create_task(waiting())
            while not task.done() and not await merging.fetchval(
                "select count(*) from pg_locks where not granted"
            ):
                await asyncio.sleep(0.01)
        return await task


async def test_a_send_that_waits_for_a_merge_passes_the_fence_of_the_merged_session(
    talk: Conversation, database_url: str
):
    await talk.maria_writes("oi", jids=[MARIA_LID])
    await talk.maria_writes("tem bolo?", jids=[MARIA])
    await talk.travel(seconds=11)
    (turn,) = [turn for turn in await talk.claim() if answered(turn) == ["tem bolo?"]]
    await talk.sql("update turns set state = 'cancelled' where id <> $1", turn["turn_id"])
    await talk.save(turn, "Olá!")
    begun = await merged_while_it_waits(talk, database_url, lambda: talk.begin(turn, "Olá!"))
    assert begun.get("ok")


# What proves a send, and what is left of a reply


async def test_a_reply_that_was_not_delivered_is_no_evidence_for_its_repetition(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.answer("Olá!", wa_id="3EB001")
    failed = {"type": "status", "wa_id": "3EB001", "status": "ERROR", "key": "status:3EB001"}
    await talk.ingest(talk.message("", from_me=True) | failed)
    turn, begun = await sending(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    assert "3EB001" not in [message["wa_id"] for message in again["history"]]
    assert again["ours"] == ["3EB001"]


async def test_a_flow_of_which_a_message_never_left_is_incomplete(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "text", "lease_seconds": 45}
    for name in "ab":
        begun = await talk.database.call(
            "begin_flow_send", {**flow, "body": name, "identity": name}
        )
        if name == "a":
            await talk.finish(turn, begun, "3EB001")
        else:
            await drop(talk, turn, begun)
    await talk.database.call("finish_turn", held(turn))
    (row,) = await talk.turns()
    assert (row["state"], row["incomplete"]) == ("sent", True)


async def test_a_turn_that_begins_again_with_each_new_message_uses_up_no_attempt(
    talk: Conversation,
):
    await talk.set_rule("on_new_message", "restart")
    for number in range(6):
        await talk.maria_writes(f"{number}")
        turn = await talk.claim_one()
    assert (await talk.fail(turn, "transient"))["state"] == "pending"
