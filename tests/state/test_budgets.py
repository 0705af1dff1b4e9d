"""Budgets: reserved before the LLM is asked, so that nothing overshoots them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from router.errors import NotFound
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, Conversation, held


@pytest.fixture(autouse=True)
async def no_day_ends_meanwhile(talk: Conversation) -> None:
    """A test that begins shortly before midnight (UTC) happens shortly after it."""
    tomorrow = (talk.now() + timedelta(minutes=10)).replace(hour=0, minute=0, second=1)
    if tomorrow > talk.now():
        await talk.travel(seconds=(tomorrow - talk.now()).total_seconds())


async def reserve(talk: Conversation, turn: Json, tokens: int = 1000, **policy: int) -> Json:
    return await talk.database.call(
        "reserve_budget", {**held(turn), "tokens": tokens, "policy": policy}
    )


async def spent(talk: Conversation, jid: str | None = None, **policy: int) -> Json:
    tenant_id = await talk.value("select id from tenants")
    session_id = (await talk.session(jid))["id"] if jid else None
    return await talk.database.call(
        "get_spending", {"tenant_id": tenant_id, "session_id": session_id, "policy": policy}
    )


async def asked(talk: Conversation, text: str = "oi", jid: str = MARIA) -> Json:
    await talk.maria_writes(text, jids=[jid])
    return await talk.claim_one()


async def save(talk: Conversation, turn: Json, tokens_in: int, tokens_out: int) -> Json:
    return await talk.database.call(
        "save_reply",
        {
            **held(turn),
            "parts": ["Olá!"],
            "handler": "fallback",
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
        },
    )


async def test_what_is_reserved_counts_until_the_cost_is_known(talk: Conversation):
    turn = await asked(talk)
    assert await reserve(talk, turn, 1000) == {"ok": True}
    assert ((await spent(talk))["turns"], (await spent(talk))["tokens"]) == (1, 1000)
    await save(talk, turn, 300, 20)
    assert (await spent(talk))["tokens"] == 320
    assert (await spent(talk, MARIA))["tokens"] == 320


@pytest.mark.parametrize(
    ("column", "limit"),
    [
        ("daily_turns", 1),
        ("contact_daily_turns", 1),
        ("daily_tokens", 1500),
        ("contact_daily_tokens", 1500),
    ],
)
async def test_a_used_up_budget_cancels_the_turn_with_the_reason(
    talk: Conversation, column: str, limit: int
):
    await talk.set_rule(column, limit)
    first = await asked(talk)
    assert "ok" in await reserve(talk, first)
    await save(talk, first, 900, 100)
    begun = await talk.begin(first, "Olá!")
    await talk.finish(first, begun, "3EB001")

    second = await asked(talk, "e agora?")
    assert await reserve(talk, second) == {"refused": "budget", "budget": column}

    turn = (await talk.turns())[-1]
    assert (turn["state"], turn["reason"], turn["error_kind"]) == ("cancelled", "budget", "budget")
    assert column in turn["error"]
    assert (await spent(talk))["turns"] == 1
    if "turns" in column:
        assert (await spent(talk, MARIA))["used_up"] == column


async def test_the_deployments_budget_holds_where_the_tenant_has_none(talk: Conversation):
    first = await asked(talk)
    assert (await reserve(talk, first, 100, daily_tokens=99))["budget"] == "daily_tokens"
    await talk.set_rule("daily_tokens", 100)
    second = await asked(talk)
    assert (await reserve(talk, second, 100, daily_tokens=99))["budget"] == "daily_tokens"
    third = await asked(talk)
    assert "ok" in await reserve(talk, third, 100, daily_tokens=101)


async def test_one_contacts_budget_is_not_anothers(talk: Conversation):
    await talk.set_rule("contact_daily_turns", 1)
    for jid in (MARIA, JOAO):
        assert "ok" in await reserve(talk, await asked(talk, jid=jid))


async def test_the_fallback_message_is_said_once_a_day(talk: Conversation):
    await talk.set_rule("daily_turns", 0)
    await talk.set_rule("fallback_message", "Voltamos amanhã.")
    turn = await asked(talk)
    assert (await reserve(talk, turn))["refused"] == "budget"

    (again,) = await talk.claim()
    assert (again["turn_id"], again["reply"]) == (turn["turn_id"], ["Voltamos amanhã."])
    begun = await talk.begin(again, "Voltamos amanhã.")
    assert (await talk.finish(again, begun, "3EB001"))["turn_state"] == "sent"
    assert (await talk.turns())[0]["error_kind"] == "budget"

    later = await asked(talk, "alguém?")
    await reserve(talk, later)
    assert (await talk.turns())[-1]["state"] == "cancelled"
    await talk.travel(days=1)
    tomorrow = await asked(talk, "bom dia")
    await reserve(talk, tomorrow)
    assert (await talk.turns())[-1]["state"] == "pending"


async def test_a_budget_of_nothing_is_used_up_before_anything_was_spent(talk: Conversation):
    await talk.set_rule("daily_turns", 0)
    assert (await spent(talk))["used_up"] == "daily_turns"


async def test_a_new_day_has_a_new_budget(talk: Conversation):
    await talk.set_rule("daily_turns", 1)
    assert "ok" in await reserve(talk, await asked(talk))
    assert (await spent(talk))["used_up"] == "daily_turns"
    await talk.travel(days=1)
    assert (await spent(talk))["turns"] == 0
    assert (await spent(talk))["used_up"] is None


async def test_a_turn_that_is_tried_again_is_one_turn_and_what_may_have_cost_stays_counted(
    talk: Conversation,
):
    first = await asked(talk)
    await reserve(talk, first, 1000)
    await talk.travel(seconds=61)
    (second,) = await talk.claim()
    await reserve(talk, second, 1000)
    assert ((await spent(talk))["turns"], (await spent(talk))["tokens"]) == (1, 2000)
    await save(talk, second, 10, 5)
    assert (await spent(talk))["tokens"] == 1015


async def test_a_failure_that_cost_nothing_gives_its_reservation_back(talk: Conversation):
    turn = await asked(talk)
    await reserve(talk, turn, 1000)
    await talk.fail(turn, tokens=0)
    assert (await spent(talk))["tokens"] == 0


async def test_a_failure_that_may_have_cost_does_not(talk: Conversation):
    turn = await asked(talk)
    await reserve(talk, turn, 1000)
    await talk.fail(turn)
    assert (await spent(talk))["tokens"] == 1000


async def test_a_flow_that_says_what_it_cost_settles_and_one_that_does_not_pays_what_was_reserved(
    talk: Conversation,
):
    for report, cost in (({"tokens_in": 70, "tokens_out": 7}, 77), ({}, 1077)):
        turn = await asked(talk)
        await reserve(talk, turn, 1000)
        await talk.database.call("finish_turn", {**held(turn), **report})
        assert (await spent(talk))["tokens"] == cost


async def test_a_dead_token_reserves_nothing(talk: Conversation):
    turn = await asked(talk)
    await talk.owner_writes("deixa comigo")
    assert await reserve(talk, turn) == {"refused": "paused"}
    assert (await spent(talk))["tokens"] == 0


async def test_turns_that_are_made_at_the_same_moment_cannot_overshoot_a_budget_together(
    talk: Conversation, database_url: str
):
    await talk.set_rule("daily_tokens", 3500)
    for number in range(12):
        await talk.maria_writes("oi", jids=[f"55119{number:08}@s.whatsapp.net"])
    await talk.travel(seconds=11)
    turns = await talk.claim(limit=12)
    others = await DirectDatabase.connect(database_url, size=6)
    try:
        answers: list[Any] = await asyncio.gather(
            *(
                others.call("reserve_budget", {**held(t), "tokens": 1000, "policy": {}})
                for t in turns
            )
        )
    finally:
        await others.close()
    assert sum("ok" in answer for answer in answers) == 3
    # The other connections' clock is not moved: near midnight theirs is another day.
    booked = await talk.value("select sum(tokens) from spending where session_id is null")
    assert booked == 3000


async def test_when_two_sessions_turn_out_to_be_one_person_what_they_spent_is_added_up(
    talk: Conversation,
):
    lid = "201955550001001@lid"
    for jid in (MARIA, lid):
        turn = await asked(talk, jid=jid)
        await reserve(talk, turn, 100)
    await talk.maria_writes("sou eu", jids=[MARIA, lid])
    assert ((await spent(talk, lid))["turns"], (await spent(talk, lid))["tokens"]) == (2, 200)
    assert (await spent(talk))["turns"] == 2


async def test_nobody_reads_what_anothers_session_spent(talk: Conversation):
    await talk.maria_writes("oi")
    other = await talk.open_shop("other")
    with pytest.raises(NotFound):
        await talk.database.call(
            "get_spending", {"tenant_id": other, "session_id": (await talk.session())["id"]}
        )


@pytest.mark.parametrize(
    "column", ["daily_turns", "contact_daily_turns", "daily_tokens", "contact_daily_tokens"]
)
async def test_a_tenants_own_budget_is_never_more_than_the_deployments(
    talk: Conversation, column: str
):
    most = 1 if column.endswith("turns") else 1500
    await talk.set_rule(column, most * 1000)
    first = await asked(talk)
    assert "ok" in await reserve(talk, first, **{column: most})
    jid = MARIA if column.startswith("contact") else None
    told = await spent(talk, jid, **{column: most})
    assert (told[column.removeprefix("contact_")], told["used_up"]) == (
        most,
        column if column.endswith("turns") else None,
    )
    await save(talk, first, 900, 100)
    begun = await talk.begin(first, "Olá!")
    await talk.finish(first, begun, "3EB001")
    second = await asked(talk, "e agora?")
    assert await reserve(talk, second, **{column: most}) == {"refused": "budget", "budget": column}
    await talk.set_rule(column, 0)
    assert (await spent(talk, jid, **{column: most}))["used_up"] == column
