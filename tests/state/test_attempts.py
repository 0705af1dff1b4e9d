"""Every attempt at a turn is written down once, when it ends, however it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import MARIA, MARIA_LID, Conversation, held
from tests.state.test_people import change
from tests.state.test_poisoned_rows import OF_TURNS, poisoned

SORRY = "Um momento, por favor."


async def attempts(talk: Conversation) -> list[dict[str, Any]]:
    return await talk.sql("select * from turn_attempts order by id")


async def ends(talk: Conversation) -> list[tuple[int, str, str | None]]:
    """How the attempts have ended: which, how, and why the turn did if it did."""
    return [(row["attempt"], row["outcome"], row["reason"]) for row in await attempts(talk)]


async def open_attempts(talk: Conversation) -> int:
    count: int = await talk.value("select count(*) from turns where held and worker is not null")
    return count


async def asked(talk: Conversation, text: str = "oi", **how: Any) -> Json:
    await talk.maria_writes(text, **how)
    return await talk.claim_one()


async def begun(talk: Conversation) -> tuple[Json, Json]:
    """A turn, and the send of its reply's first part of two, which has begun."""
    turn = await asked(talk)
    await talk.save(turn, "Olá!", "Tudo bem?")
    return turn, await talk.begin(turn, "Olá!")


async def doubt(talk: Conversation, turn: Json, send: Json) -> None:
    named = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": send["message_id"]}
    argument = {**held(turn), **named, "error": "time-out", "check_after": 3}
    await talk.database.call("doubt_send", argument)


async def settle(talk: Conversation, turn: Json, send: Json, outcome: str, **more: object) -> Json:
    argument = {
        **held(turn), "message_id": send["message_id"], "outcome": outcome, "error": "not found",
        "check_after": 3, "give_up_hours": 24, **more,
    }  # fmt: skip
    return await talk.database.call("settle_send", argument)


async def forward(talk: Conversation, turn: Json) -> None:
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 90})


async def flow_says(talk: Conversation, turn: Json, text: str = "Temos!") -> None:
    flow = {**held(turn), "kind": "text", "identity": text, "body": text, "lease_seconds": 45}
    send = await talk.database.call("begin_flow_send", flow)
    await talk.finish(turn, send, "3EB0F1")


# What an attempt's row has


async def test_nothing_is_written_until_it_ends_and_then_once(talk: Conversation):
    turn = await asked(talk)
    assert (await attempts(talk), await open_attempts(talk)) == ([], 1)
    cost = {"provider": "anthropic", "model": "claude", "tokens_in": 30, "tokens_out": 12}
    saved = {**held(turn), "parts": ["Olá!"], "handler": "fallback", **cost}
    await talk.database.call("save_reply", saved)
    send = await talk.begin(turn, "Olá!")
    assert await attempts(talk) == []
    await talk.finish(turn, send, "3EB001")
    (row,) = await attempts(talk)
    (now,) = await talk.turns()
    assert {name: row[name] for name in cost} == cost
    assert (row["turn_id"], row["tenant_id"]) == (now["id"], now["tenant_id"])
    assert (row["attempt"], row["worker"], row["handler"]) == (1, "test", "fallback")
    assert (row["outcome"], row["reason"], row["error"]) == ("sent", None, None)
    assert row["began"] == now["claimed_at"]
    assert row["began"] <= row["handler_since"] <= row["ended"] == now["finished_at"]
    assert await open_attempts(talk) == 0


async def test_what_each_attempt_used_is_its_own(talk: Conversation):
    async def makes(turn: Json, tokens: int) -> None:
        used = {"tokens_in": tokens, "tokens_out": 1, "provider": "openai", "model": "m"}
        saved = {**held(turn), "parts": [f"de {tokens}"], "handler": "fallback", **used}
        await talk.database.call("save_reply", saved)

    turn = await asked(talk)
    await makes(turn, 100)
    await talk.database.call("begin_anew", held(turn))
    (turn,) = await talk.claim()
    await makes(turn, 40)
    await talk.fail(turn)
    turn = await talk.claim_one()
    assert turn["reply"] == ["de 40"]  # nobody asks the LLM again
    await talk.finish(turn, await talk.begin(turn, "de 40"), "3EB001")
    rows = await attempts(talk)
    assert [(row["tokens_in"], row["provider"]) for row in rows] == [
        (100, "openai"), (40, "openai"), (None, None),
    ]  # fmt: skip
    assert [row["handler"] for row in rows] == ["fallback", "fallback", None]
    assert (await talk.turns())[0]["tokens_in"] == 140


async def test_a_flow_in_n8n_is_the_handler_with_what_it_says_that_it_used(talk: Conversation):
    turn = await asked(talk)
    await forward(talk, turn)
    await flow_says(talk, turn)
    cost = {"provider": "anthropic", "model": "claude", "tokens_in": 30, "tokens_out": 12}
    await talk.database.call("finish_turn", {**held(turn), **cost})
    (row,) = await attempts(talk)
    assert (row["handler"], row["outcome"]) == ("n8n", "sent")
    assert {name: row[name] for name in cost} == cost


async def test_the_error_is_that_of_the_attempt_and_no_earlier_one(talk: Conversation):
    turn = await asked(talk)
    await talk.fail(turn, error="the LLM answered 500")
    turn = await talk.claim_one()
    await talk.database.call("release_turn", held(turn))
    (turn,) = await talk.claim()
    await talk.fail(turn, "permanent", error="no key")
    assert [(row["outcome"], row["error_kind"], row["error"]) for row in await attempts(talk)] == [
        ("failed", "transient", "the LLM answered 500"),
        ("released", None, None),
        ("dead", "permanent", "no key"),
    ]


# How it ends


async def is_cancelled_by_a_takeover(talk: Conversation) -> None:
    await asked(talk)
    await talk.owner_writes("deixa comigo")


async def is_cancelled_by_a_pause(talk: Conversation) -> None:
    turn = await asked(talk)
    named = {"tenant_id": 1, "session_id": turn["session"]["session_id"]}
    await talk.database.call("pause_session", {**named, "source": "operator"})


async def ends_when_its_part_is_settled(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await talk.owner_writes("deixa comigo")
    assert await attempts(talk) == []
    await talk.finish(turn, send, "3EB001")


async def fails_and_is_tried_again(talk: Conversation) -> None:
    await talk.fail(await asked(talk))


async def fails_for_good(talk: Conversation) -> None:
    await talk.fail(await asked(talk), "permanent")


async def fails_for_the_last_time(talk: Conversation) -> None:
    await talk.fail(await asked(talk), max_attempts=1)


async def waits_for_what_is_away(talk: Conversation) -> None:
    await talk.fail(await asked(talk), "away", away="llm")


async def waits_until_it_is_too_old(talk: Conversation) -> None:
    await talk.maria_writes("oi")
    turn = await talk.claim_one(lease=2 * 3600)
    await talk.travel(minutes=70)
    await talk.fail(turn, "away", away="llm", answer_within_minutes=60)


async def fails_while_paused(talk: Conversation) -> None:
    turn = await asked(talk)
    await talk.sql("update sessions set is_paused = true, pause_source = 'operator'")
    await talk.fail(turn)


async def fails_while_a_send_is_in_doubt(talk: Conversation) -> None:
    turn, _ = await begun(talk)
    await talk.fail(turn)


async def fails_after_a_part(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await talk.finish(turn, send, "3EB001")
    await talk.fail(turn)


async def is_in_doubt(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await doubt(talk, turn, send)


async def stays_in_doubt(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await doubt(talk, turn, send)
    await settle(talk, await talk.claim_one(), send, "unknown")


async def stays_in_doubt_for_good(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await doubt(talk, turn, send)
    await settle(talk, await talk.claim_one(), send, "unknown", give_up_hours=0)


async def finds_out_that_it_has_said_all(talk: Conversation) -> None:
    turn = await asked(talk)
    await talk.save(turn, "Olá!")
    send = await talk.begin(turn, "Olá!")
    await doubt(talk, turn, send)
    await settle(talk, await talk.claim_one(), send, "sent", wa_id="3EB001")


async def hears_from_its_echo_while_nobody_is_at_it(talk: Conversation) -> None:
    turn = await asked(talk)
    await talk.save(turn, "Olá!")
    await doubt(talk, turn, await talk.begin(turn, "Olá!"))
    echo = await talk.owner_writes("Olá!", wa_id="3EB001", origin="send", status="PENDING")
    assert echo["decision"] == "own_message"


async def is_finished_while_a_send_is_in_doubt(talk: Conversation) -> None:
    turn, _ = await begun(talk)
    await talk.database.call("finish_turn", held(turn))


async def hands_over_to_a_human(talk: Conversation) -> None:
    turn = await asked(talk)
    await forward(talk, turn)
    await talk.database.call("hand_off", {**held(turn), "reason": "Maria asks for a human"})


async def is_refused_by_the_guard(talk: Conversation) -> None:
    turn = await asked(talk)
    refused = {**held(turn), "rule": "leak", "detail": "40 characters"}
    await talk.database.call("refuse_reply", refused)


async def is_refused_with_a_fallback_message(talk: Conversation) -> None:
    await talk.set_rule("fallback_message", SORRY)
    await talk.set_rule("on_refused_reply", "fallback_message")
    await is_refused_by_the_guard(talk)


async def has_no_budget(talk: Conversation) -> None:
    await talk.set_rule("daily_turns", 0)
    turn = await asked(talk)
    await talk.database.call("reserve_budget", {**held(turn), "tokens": 9, "policy": {}})


async def has_no_budget_but_a_fallback_message(talk: Conversation) -> None:
    await talk.set_rule("fallback_message", SORRY)
    await has_no_budget(talk)


async def cannot_be_read(talk: Conversation) -> None:
    await talk.maria_writes("oi")
    await talk.travel(seconds=11)
    await poisoned(talk, OF_TURNS)
    await talk.claim()


async def is_given_back(talk: Conversation) -> None:
    await talk.database.call("release_turn", held(await asked(talk)))


async def is_given_back_half_said(talk: Conversation) -> None:
    turn, send = await begun(talk)
    await talk.finish(turn, send, "3EB001")
    await talk.database.call("release_turn", held(turn))


async def is_made_anew(talk: Conversation) -> None:
    await talk.database.call("begin_anew", held(await asked(talk)))


async def starts_again_with_a_new_message(talk: Conversation) -> None:
    await talk.set_rule("on_new_message", "restart")
    await asked(talk)
    await talk.maria_writes("e bolo?")


async def starts_again_with_an_edit(talk: Conversation) -> None:
    await talk.maria_writes("2 bolos", wa_id="AC01")
    await talk.claim_one()
    await talk.ingest(change("edit", "AC01", text="20 bolos", edited_at=talk.now().isoformat()))


async def makes_way_for_a_merge(talk: Conversation) -> None:
    await talk.ingest(talk.message("oi"), talk.message("olá", jids=[MARIA_LID]))
    await talk.travel(seconds=11)
    assert len(await talk.claim()) == 2
    await talk.maria_writes("sou eu", jids=(MARIA, MARIA_LID))


async def waits_for_a_stranger(talk: Conversation) -> None:
    turn = await asked(talk)
    await talk.owner_writes("é a Ana", jids=[MARIA_LID])
    await talk.save(turn, "Olá!")
    assert (await talk.begin(turn, "Olá!"))["refused"] == "stale"


async def falls_silent(talk: Conversation) -> None:
    await asked(talk)
    await talk.travel(seconds=61)
    assert len(await talk.claim()) == 1


async def falls_silent_for_the_last_time(talk: Conversation) -> None:
    await asked(talk)
    await talk.travel(seconds=61)
    assert await talk.claim(max_attempts=1) == []


async def falls_silent_after_its_flow_spoke(talk: Conversation) -> None:
    turn = await asked(talk)
    await forward(talk, turn)
    await flow_says(talk, turn)
    await talk.travel(minutes=3)
    assert await talk.claim() == []


async def falls_silent_until_it_is_too_old(talk: Conversation) -> None:
    await asked(talk)
    await talk.travel(minutes=70)
    how = {"limit": 5, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5, "worker": "w"}
    await talk.database.call("claim_turns", {**how, "answer_within_minutes": 60})


async def crashes_in_n8n(talk: Conversation) -> None:
    turn = await asked(talk)
    await forward(talk, turn)
    begin = {**held(turn), "execution_id": "4711", "by_n8n": True}
    await talk.database.call("begin_flow", begin)
    crash = {"execution_id": "4711", "kind": "transient", "error": "a node failed"}
    limits = {"max_attempts": 5, "base_seconds": 2}
    await talk.database.call("fail_execution", {**crash, **limits})


async def fails_in_n8n_after_it_spoke(talk: Conversation) -> None:
    turn = await asked(talk)
    await forward(talk, turn)
    await flow_says(talk, turn)
    await talk.fail(turn)


WAYS: list[tuple[Callable[[Conversation], Awaitable[None]], list[tuple[int, str, str | None]]]] = [
    (is_cancelled_by_a_takeover, [(1, "cancelled", "takeover")]),
    (is_cancelled_by_a_pause, [(1, "cancelled", "paused")]),
    (ends_when_its_part_is_settled, [(1, "sent", "takeover")]),
    (fails_and_is_tried_again, [(1, "failed", None)]),
    (fails_for_good, [(1, "dead", None)]),
    (fails_for_the_last_time, [(1, "dead", None)]),
    (waits_for_what_is_away, [(1, "away", None)]),
    (waits_until_it_is_too_old, [(1, "dead", "too_old")]),
    (fails_while_paused, [(1, "cancelled", "paused")]),
    (fails_while_a_send_is_in_doubt, [(1, "in_doubt", None)]),
    (fails_after_a_part, [(1, "failed", None)]),
    (is_in_doubt, [(1, "in_doubt", None)]),
    (stays_in_doubt, [(1, "in_doubt", None), (1, "in_doubt", None)]),
    (stays_in_doubt_for_good, [(1, "in_doubt", None), (1, "dead", "in_doubt")]),
    (finds_out_that_it_has_said_all, [(1, "in_doubt", None), (1, "sent", None)]),
    (hears_from_its_echo_while_nobody_is_at_it, [(1, "in_doubt", None)]),
    (is_finished_while_a_send_is_in_doubt, [(1, "in_doubt", None)]),
    (hands_over_to_a_human, [(1, "sent", "handoff")]),
    (is_refused_by_the_guard, [(1, "cancelled", "reply_refused")]),
    (is_refused_with_a_fallback_message, [(1, "refused", None)]),
    (has_no_budget, [(1, "cancelled", "budget")]),
    (has_no_budget_but_a_fallback_message, [(1, "budget", None)]),
    (cannot_be_read, [(1, "unreadable", None)]),
    (is_given_back, [(1, "released", None)]),
    (is_given_back_half_said, [(1, "released", None)]),
    (is_made_anew, [(1, "begun_anew", None)]),
    (starts_again_with_a_new_message, [(1, "restarted", None)]),
    (starts_again_with_an_edit, [(1, "restarted", None)]),
    (makes_way_for_a_merge, [(1, "merged", None)]),
    (waits_for_a_stranger, [(1, "begun_anew", None)]),
    (falls_silent, [(1, "lapsed", None)]),
    (falls_silent_for_the_last_time, [(1, "lapsed", None)]),
    (falls_silent_after_its_flow_spoke, [(1, "lapsed", None)]),
    (falls_silent_until_it_is_too_old, [(1, "lapsed", None)]),
    (crashes_in_n8n, [(1, "failed", None)]),
    (fails_in_n8n_after_it_spoke, [(1, "sent", "flow_failed")]),
]
STILL_AT_WORK = {makes_way_for_a_merge, falls_silent}  # another attempt is under way


@pytest.mark.parametrize(("way", "expected"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_each_way_that_an_attempt_ends_is_told(
    talk: Conversation,
    way: Callable[[Conversation], Awaitable[None]],
    expected: list[tuple[int, str, str | None]],
):
    await way(talk)
    assert await ends(talk) == expected
    assert await open_attempts(talk) == (way in STILL_AT_WORK)
    for row in await attempts(talk):
        told = {"failed", "dead", "away", "refused", "budget", "unreadable"}
        has_error = row["outcome"] in told or row["reason"] in ("budget", "reply_refused")
        assert row["error"] is not None or not has_error, row
        assert row["began"] <= row["ended"]


async def test_every_word_for_an_end_is_one_that_happens():
    words = {outcome for _, expected in WAYS for _, outcome, _ in expected}
    assert words == {
        *("sent", "cancelled", "dead", "failed", "away", "in_doubt", "refused", "budget"),
        *("unreadable", "released", "begun_anew", "restarted", "merged", "lapsed"),
    }


async def test_a_lapsed_attempt_ended_when_its_lease_did(talk: Conversation):
    await asked(talk)
    (before,) = await talk.turns()
    await talk.travel(minutes=5)
    await talk.claim()
    (row,) = await attempts(talk)
    assert row["ended"] == before["lease_until"]


async def test_what_nobody_worked_on_ends_without_an_attempt(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.owner_writes("deixa comigo")
    assert (await talk.turn_states(), await attempts(talk)) == (["cancelled"], [])


async def test_a_retried_turn_keeps_the_attempts_of_before(talk: Conversation):
    turn = await asked(talk)
    await talk.fail(turn, "permanent")
    retried = {"tenant_id": 1, "turn_id": turn["turn_id"]}
    await talk.database.call("retry_turn", retried)
    await talk.answer()
    assert await ends(talk) == [(1, "dead", None), (1, "sent", None)]


async def test_an_attempt_that_is_no_more_ends_nothing_twice(talk: Conversation):
    turn, send = await begun(talk)
    await doubt(talk, turn, send)
    await talk.fail(turn)  # its token holds until the turn is claimed again
    await doubt(talk, turn, send)
    await talk.database.call("release_turn", held(turn))
    assert await ends(talk) == [(1, "in_doubt", None)]


async def test_two_who_claim_a_lapsed_turn_tell_of_it_once(talk: Conversation):
    await asked(talk)
    await talk.travel(minutes=2)
    claims = await asyncio.gather(talk.claim(), talk.claim())
    assert sum(map(len, claims)) == 1
    assert await ends(talk) == [(1, "lapsed", None)]


async def test_attempts_go_with_their_turn(talk: Conversation):
    await talk.fail(await asked(talk), "permanent")
    await talk.travel(days=40)
    done = await talk.database.call("prune", {"retention_days": 30})
    assert (done["turns"], await attempts(talk)) == (1, [])


@pytest.mark.spoils
async def test_they_go_with_their_turn_however_that_goes(talk: Conversation):
    for way in (
        *("delete from turns", "delete from sessions", "truncate tenants cascade"),
        "delete from tenants",
    ):
        if not await talk.value("select count(*) from tenants"):
            await talk.open_shop()
        await talk.maria_writes("oi")
        await talk.travel(seconds=11)
        for turn in await talk.claim():
            await talk.fail(turn, "permanent")
        assert len(await attempts(talk)) == 1
        await talk.sql(way)
        assert await attempts(talk) == []
