"""Whoever acts for a turn or a notice is judged alike, books alike and backs off alike."""

from typing import Any
from uuid import uuid4

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation, held
from tests.state.test_notices import handed_off, token

OF_THE_TURN: dict[str, Json] = {
    "save_reply": {"parts": ["Olá!"], "handler": "fallback"},
    "reserve_budget": {"tokens": 10, "policy": {}},
    "begin_send": {"part": 0, "body": "Olá!", "lease_seconds": 45},
    "begin_flow_send": {"kind": "text", "body": "Olá!", "identity": "i", "lease_seconds": 45},
    "look_at_turn": {},
    "forward_turn": {"lease_seconds": 45},
    "begin_flow": {"execution_id": "7"},
    "extend_turn": {"seconds": 45},
    "find_media": {"wa_id": "A1"},
    "hand_off": {"reason": "a refund"},
    "refuse_reply": {"rule": "leak", "detail": "a key"},
    "fail_turn": {"kind": "transient", "error": "no", "max_attempts": 5, "base_seconds": 2},
    "begin_anew": {},
    "release_turn": {},
    "finish_turn": {},
    "doubt_send": {"message_id": 1, "error": "no", "check_after": 3},
    "settle_send": {
        "message_id": 1, "outcome": "unknown", "check_after": 3, "give_up_hours": 24,
        "late_seconds": 90,
    },
}  # fmt: skip
OF_THE_NOTICE: dict[str, Json] = {
    "begin_notice_send": {"body": "Olá!", "lease_seconds": 45},
    "finish_notice": {"handler": "fallback"},
    "fail_notice": {"error": "no", "max_attempts": 5, "base_seconds": 2},
}
ALL_OF_THE_TURN = pytest.mark.parametrize("function", OF_THE_TURN)
ALL_OF_THE_NOTICE = pytest.mark.parametrize("function", OF_THE_NOTICE)


async def acts(talk: Conversation, function: str, who: Json) -> Json:
    return await talk.database.call(function, {**OF_THE_TURN[function], **who})


@ALL_OF_THE_TURN
async def test_a_token_that_is_not_the_turns_own_is_stale(talk: Conversation, function: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    for who in (held(turn) | {"token": str(uuid4())}, held(turn) | {"turn_id": 10**6}):
        assert await acts(talk, function, who) == {"refused": "stale"}


@ALL_OF_THE_TURN
async def test_so_is_its_own_when_the_lease_has_run_out(talk: Conversation, function: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.travel(seconds=61)
    assert await acts(talk, function, held(turn)) == {"refused": "stale"}


@ALL_OF_THE_TURN
async def test_a_turn_that_a_human_took_over_is_paused(talk: Conversation, function: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.owner_writes("deixa comigo")
    assert await acts(talk, function, held(turn)) == {"refused": "paused"}


@ALL_OF_THE_TURN
async def test_one_that_was_closed_otherwise_is_superseded(talk: Conversation, function: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, kind="permanent")
    assert await acts(talk, function, held(turn)) == {"refused": "superseded"}


@pytest.mark.parametrize("function", ["begin_send", "begin_flow_send"])
@pytest.mark.parametrize("reason", ["a pause", "a human while a part was leaving"])
async def test_what_is_stopped_says_no_more_though_it_is_held(
    talk: Conversation, function: str, reason: str
):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    if reason == "a pause":
        await talk.sql("update sessions set is_paused = true, pause_source = 'operator'")
    else:
        await talk.sql("update turns set stop_reason = 'takeover'")
    judged_before_more_was_said = {"next_part": 9} if function == "begin_flow_send" else {}
    refused = await acts(talk, function, held(turn) | judged_before_more_was_said)
    assert refused["refused"] == "paused"
    assert (await talk.turns())[0]["state"] == "cancelled"


@pytest.mark.parametrize("reason", ["a pause", "a human while a part was leaving"])
async def test_nor_is_it_tried_again(talk: Conversation, reason: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    if reason == "a pause":
        await talk.sql("update sessions set is_paused = true, pause_source = 'operator'")
    else:
        await talk.sql("update turns set stop_reason = 'takeover'")
    looked = await acts(talk, "look_at_turn", held(turn))
    assert looked["is_paused"]
    assert (await talk.fail(turn))["state"] == "cancelled"


async def tells(talk: Conversation, function: str, who: Json) -> Json:
    return await talk.database.call(function, {**OF_THE_NOTICE[function], **who})


@ALL_OF_THE_NOTICE
async def test_a_notice_is_acted_on_by_the_token_of_its_attempt_alone(
    talk: Conversation, function: str
):
    shown = token(await handed_off(talk))
    unknown = shown | {"notice_id": 10**6}
    assert await tells(talk, function, unknown) == {"refused": "unknown_notice"}
    assert await tells(talk, function, shown | {"token": str(uuid4())}) == {"refused": "stale"}


@ALL_OF_THE_NOTICE
async def test_a_notice_that_is_closed_is_acted_on_by_nobody(talk: Conversation, function: str):
    shown = token(await handed_off(talk))
    await talk.sql("update notices set state = 'dead'")
    assert await tells(talk, function, shown) == {"refused": "superseded"}


async def cost(talk: Conversation) -> tuple[Any, ...]:
    (turn,) = await talk.sql("select * from turns order by id limit 1")
    spent = await talk.value("select tokens from spending where session_id is null")
    return turn["tokens_in"], turn["tokens_out"], turn["provider"], turn["reserved_tokens"], spent


BOOKS: dict[str, Json] = {
    "save_reply": {"parts": ["Olá!"], "handler": "fallback"},
    "finish_turn": {},
    "refuse_reply": {"rule": "leak", "detail": "a key"},
}


@pytest.mark.parametrize("function", BOOKS)
@pytest.mark.parametrize("before", [None, (100, 10)])
async def test_what_an_attempt_cost_is_booked_alike_whoever_tells_it(
    talk: Conversation, function: str, before: tuple[int, int] | None
):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await acts(talk, "reserve_budget", held(turn) | {"tokens": 5000})
    if before is not None:
        await talk.sql("update turns set tokens_in = $1, tokens_out = $2", *before)
    told = {"provider": "anthropic", "model": "m", "tokens_in": 30, "tokens_out": 4}
    await talk.database.call(function, {**held(turn), **BOOKS[function], **told})
    spent_in, spent_out = before or (0, 0)
    assert await cost(talk) == (spent_in + 30, spent_out + 4, "anthropic", None, 34)


@pytest.mark.parametrize("function", BOOKS)
async def test_what_is_not_known_leaves_the_reservation(talk: Conversation, function: str):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await acts(talk, "reserve_budget", held(turn) | {"tokens": 5000})
    await talk.database.call(function, {**held(turn), **BOOKS[function]})
    assert await cost(talk) == (None, None, None, 5000, 5000)


@pytest.mark.parametrize(("tokens", "reserved"), [(0, None), (7, None), (None, 5000)])
async def test_a_failure_that_is_known_to_have_cost_so_much_gives_back_the_rest(
    talk: Conversation, tokens: int | None, reserved: int | None
):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await acts(talk, "reserve_budget", held(turn) | {"tokens": 5000})
    await talk.fail(turn, tokens=tokens)
    spent = 5000 if tokens is None else tokens
    assert await cost(talk) == (None, None, None, reserved, spent)


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, 2), (1, 4), (3, 16), (8, 512), (9, 900), (10, 900), (1000, 900)]
)
async def test_what_failed_waits_twice_as_long_each_time_up_to_an_end_with_jitter(
    talk: Conversation, times: int, seconds: int
):
    (found,) = await talk.sql(
        "select min(b) as least, max(b) as most from (select hybridflow.back_off(2, $1, 900) as b"
        " from generate_series(1, 300)) as s",
        times,
    )
    assert 0.75 * seconds <= found["least"] < 0.85 * seconds
    assert 1.15 * seconds < found["most"] <= 1.25 * seconds
