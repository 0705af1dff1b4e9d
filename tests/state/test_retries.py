"""Many dead turns are tried again by one call: which, how many, in which order."""

import asyncpg
import pytest

from router.errors import Invalid, NotAllowed, NotFound
from router.state.database import Json
from tests.state.conversation import JOAO, POLICY, Conversation, answered
from tests.state.test_callers import call, key_for


async def retry(talk: Conversation, tenant_id: int = 1, **which: object) -> Json:
    answer = await talk.database.call("retry_turns", {"tenant_id": tenant_id, **which})
    answer.pop("audit")
    return answer


async def dead_turns(talk: Conversation, count: int, kind: str = "permanent") -> list[str]:
    """One each in a conversation of its own; the last wrote last."""
    jids = [f"55119{next(talk._ids):08}@s.whatsapp.net" for _ in range(count)]
    for jid in jids:
        await talk.maria_writes("oi", jids=[jid], ago=count - jids.index(jid))
    await talk.travel(seconds=11)
    for turn in await talk.claim(limit=count):
        await talk.fail(turn, kind, max_attempts=1)
    return jids


async def states(talk: Conversation) -> list[str]:
    return [row["state"] for row in await talk.sql("select state from turns order by id")]


def who(turns: list[Json]) -> list[str]:
    return [turn["session"]["jid"] for turn in turns]


async def test_all_get_fresh_attempts_and_are_due_at_once(talk: Conversation):
    jids = await dead_turns(talk, 3)
    assert await retry(talk) == {"retried": 3, "left": 0, "next_cursor": None}
    turns = await talk.claim()
    assert sorted(who(turns)) == sorted(jids)
    assert {turn["attempt"] for turn in turns} == {1}


async def test_again_it_finds_none_of_them_dead(talk: Conversation):
    await dead_turns(talk, 2)
    await retry(talk)
    assert await retry(talk) == {"retried": 0, "left": 0, "next_cursor": None}


async def test_the_newest_conversations_are_answered_first(talk: Conversation):
    jids = await dead_turns(talk, 6)
    await retry(talk)
    assert sorted(who(await talk.claim(limit=2))) == sorted(jids[-2:])


async def test_a_call_has_a_limit_and_the_next_goes_on_behind_it(talk: Conversation):
    await dead_turns(talk, 5)
    first = await retry(talk, limit=2)
    assert first["retried"] == 2
    assert await states(talk) == ["dead"] * 3 + ["pending"] * 2
    second = await retry(talk, limit=2, cursor=first["next_cursor"])
    third = await retry(talk, limit=2, cursor=second["next_cursor"])
    assert (second["retried"], third) == (2, {"retried": 1, "left": 0, "next_cursor": None})


async def test_what_cannot_be_retried_is_left_and_is_in_nobodys_way(talk: Conversation):
    jids = await dead_turns(talk, 4)
    for jid in jids[2:]:
        await talk.owner_writes("deixa comigo", jids=[jid])
    first = await retry(talk, limit=2)
    assert (first["retried"], first["left"]) == (0, 2)
    assert await retry(talk, limit=2, cursor=first["next_cursor"]) == {
        "retried": 2,
        "left": 0,
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("which", "retried"),
    [
        ({}, [1, 2, 3]),
        ({"reason": "too_old"}, [3]),
        ({"reason": "failed"}, [1, 2]),
        ({"error_kind": "permanent"}, [1]),
        ({"error_kind": "transient", "reason": "failed"}, [2]),
        ({"error_kind": "permanent", "reason": "too_old"}, []),
        ({"error_kind": "nothing"}, []),
        ({"reason": None, "error_kind": None, "since": None, "until": None}, [1, 2, 3]),
    ],
)
async def test_only_those_that_are_asked_for(talk: Conversation, which: Json, retried: list[int]):
    await dead_turns(talk, 1, "permanent")
    await dead_turns(talk, 1, "transient")
    await dead_turns(talk, 1)
    await talk.sql("update turns set reason = 'too_old', error_kind = 'away' where id = 3")
    assert (await retry(talk, **which))["retried"] == len(retried)
    rows = await talk.sql("select id from turns where state <> 'dead' order by id")
    assert [row["id"] for row in rows] == retried


async def test_those_that_died_in_a_certain_time(talk: Conversation):
    at = []
    for _ in range(3):
        at.append(talk.now())
        await dead_turns(talk, 1)
        await talk.travel(hours=1)
    which: Json = {"since": at[1].isoformat(), "until": at[2].isoformat()}
    assert (await retry(talk, **which))["retried"] == 1
    assert await states(talk) == ["dead", "pending", "dead"]


async def test_what_is_half_said_goes_on_with_the_rest(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    await talk.finish(turn, await talk.begin(turn, "um"), "3EB001")
    await talk.fail(turn, "permanent")
    assert (await retry(talk))["retried"] == 1
    (again,) = await talk.claim()
    assert [part["part"] for part in again["parts"]] == [0]


async def test_two_of_one_conversation_become_one(talk: Conversation):
    for text in ("oi", "alguém?"):
        await talk.maria_writes(text)
        await talk.fail(await talk.claim_one(), "permanent")
    assert (await retry(talk))["retried"] == 2
    (turn,) = await talk.claim()
    assert answered(turn) == ["oi", "alguém?"]


async def test_one_that_another_is_at_is_left_and_nobody_waits(
    talk: Conversation, database_url: str
):
    await dead_turns(talk, 2)
    await talk.maria_writes("oi")
    await talk.fail(await talk.claim_one(), "permanent")
    await talk.maria_writes("e aí?")  # its pending turn is held, not its session
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("select from sessions where id = 1 for update")
            await other.execute("select from turns where id = 4 for update")
            assert await retry(talk) == {"retried": 1, "left": 2, "next_cursor": None}
    finally:
        await other.close()
    assert (await retry(talk))["retried"] == 2


async def test_another_tenants_stay_as_they_are(talk: Conversation):
    await dead_turns(talk, 2)
    others = await talk.open_shop("others")
    await talk.maria_writes("oi", instance="others", jids=[JOAO])
    await talk.fail(await talk.claim_one(), "permanent")
    assert (await retry(talk, others))["retried"] == 1
    assert await states(talk) == ["dead", "dead", "pending"]
    with pytest.raises(NotFound, match="no tenant 99"):
        await retry(talk, 99)


@pytest.mark.parametrize("fault", [{"limit": 0}, {"limit": 201}, {"cursor": "x"}])
async def test_what_cannot_be_meant_is_refused(talk: Conversation, fault: Json):
    with pytest.raises(Invalid):
        await retry(talk, **fault)


async def test_a_cursor_of_another_list_is_refused(talk: Conversation):
    await dead_turns(talk, 2)
    page = await talk.database.call("list_turns", {"tenant_id": 1, "limit": 1})
    with pytest.raises(Invalid, match="cursor"):
        await retry(talk, cursor=page["next_cursor"])


@pytest.mark.spoils
async def test_a_call_looks_at_a_thousand_and_says_where_it_stopped(talk: Conversation):
    await talk.sql(
        "with s as (insert into sessions (tenant_id, phone_jid)"
        " select 1, (5511900000000 + g) || '@s.whatsapp.net' from generate_series(1, 1100) as g"
        " returning id)"
        " insert into turns (tenant_id, session_id, state, error_kind, run_after, debounce_until,"
        " finished_at) select 1, id, 'dead', 'permanent', now(), now(), now() from s"
    )
    await talk.sql("update turns set error_kind = 'away' where id = (select min(id) from turns)")
    first = await retry(talk, error_kind="away")
    assert (first["retried"], first["left"]) == (0, 0)
    second = await retry(talk, error_kind="away", cursor=first["next_cursor"])
    assert (second["retried"] + second["left"], second["next_cursor"]) == (1, None)


# Who may


async def test_it_needs_an_operator_and_stands_in_the_audit_log(talk: Conversation):
    await dead_turns(talk, 2)
    which = {"reason": "failed", "since": "2020-01-01T00:00:00Z"}
    with pytest.raises(NotAllowed, match="needs the role operator"):
        await call(talk, await key_for(talk, "viewer", 1), "retry_turns", tenant_id=1, **which)
    assert await states(talk) == ["dead", "dead"]
    done = await call(talk, await key_for(talk, "operator", 1), "retry_turns", tenant_id=1, **which)
    assert done == {"retried": 2, "left": 0, "next_cursor": None}
    (line,) = await talk.sql("select tenant_id, detail from audit_log where action = 'retry_turns'")
    assert line["tenant_id"] == 1
    assert line["detail"] == {"retried": 2, **which}


# What was answered since


async def end_as_too_old(talk: Conversation) -> None:
    await talk.travel(minutes=70)
    how = {"limit": 5, "lease_seconds": 60, "max_attempts": 5, "history_limit": 50, "worker": "t"}
    claimed = await talk.database.call("claim_turns", {**how, "answer_within_minutes": 60})
    assert len(claimed["too_old"]) == 1


async def test_what_a_later_turn_had_before_its_eyes_is_not_answered_again(talk: Conversation):
    await talk.maria_writes("quanto custa o bolo?")
    await end_as_too_old(talk)
    await talk.maria_writes("e aí?")
    await talk.answer("O bolo custa 50", wa_id="3EB0AAAA")
    assert (await retry(talk, reason="too_old"))["retried"] == 0
    assert await talk.claim() == []


async def test_nor_what_a_human_has_answered_by_hand(talk: Conversation):
    await talk.maria_writes("quanto custa o bolo?")
    await end_as_too_old(talk)
    await talk.owner_writes("50 reais, já separei")
    await talk.travel(minutes=121)
    await talk.database.call("auto_resume", {"policy": POLICY})
    assert (await retry(talk, reason="too_old"))["retried"] == 0
    await talk.maria_writes("e de chocolate?", jids=[JOAO])
    await talk.travel(seconds=11)
    assert len(await talk.claim()) == 1
