"""Nobody can answer for a while: what waits keeps its attempts, until it is answered or too old."""

from datetime import datetime
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, answered, held

AGE = {"answer_within_minutes": 60}


async def claim(talk: Conversation, limit: int = 50, **more: object) -> Json:
    argument: Json = {"limit": limit, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5}
    return await talk.database.call("claim_turns", argument | {"worker": "one"} | AGE | more)


async def llm_is_away(talk: Conversation, turn: Json, **more: object) -> Json:
    return await talk.fail(turn, "away", away="llm", **AGE, **more)


async def line_is_away(talk: Conversation, turn: Json, **more: object) -> Json:
    return await talk.fail(turn, "away", away="evolution", **AGE, **more)


async def the_turn(talk: Conversation, turn_id: int = 1) -> dict[str, Any]:
    (row,) = await talk.sql("select * from turns where id = $1", turn_id)
    return row


async def customers_write(talk: Conversation, count: int, seconds_apart: float = 1) -> list[str]:
    """One after the other, each in a conversation of their own; the last is the newest."""
    jids = [f"551190000{number:04}@s.whatsapp.net" for number in range(count)]
    for place, jid in enumerate(jids):
        ago = (count - place) * seconds_apart
        await talk.maria_writes("oi", jids=[jid], ago=ago)
    await talk.travel(seconds=11)
    return jids


def who(claimed: Json) -> list[str]:
    return [turn["session"]["jid"] for turn in claimed["turns"]]


# No attempt is used up


async def test_an_llm_that_is_away_uses_up_no_attempt_within_the_age(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.travel(seconds=11)
    for _ in range(70):
        claimed = await claim(talk)
        if not claimed["turns"]:
            break
        (turn,) = claimed["turns"]
        assert turn["attempt"] == 1
        assert (await llm_is_away(talk, turn, max_attempts=2))["state"] == "pending"
        await talk.travel(seconds=60)
    row = await the_turn(talk)
    assert (row["state"], row["reason"], row["error_kind"]) == ("dead", "too_old", "away")
    assert row["waits"] > 40


async def test_an_attempt_that_ends_after_the_age_ends_the_turn(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one(lease=4000)
    await talk.travel(minutes=61)
    assert (await llm_is_away(talk, turn))["state"] == "dead"
    assert (await the_turn(talk))["reason"] == "too_old"


async def test_nor_does_it_use_up_the_budget(talk: Conversation):
    """An LLM that hangs may have cost something, each time: the outage counts as one attempt."""
    await talk.set_rule("daily_tokens", 2500)
    if talk.now().hour == 23:
        await talk.travel(minutes=60)  # a budget is a day's: all of it is within one
    await talk.maria_writes("tem bolo?")
    await talk.travel(seconds=11)
    for _ in range(20):
        (turn,) = (await claim(talk))["turns"]
        reserved = {**held(turn), "tokens": 1000, "policy": {}}
        assert await talk.database.call("reserve_budget", reserved) == {"ok": True}
        await llm_is_away(talk, turn, tokens=None)
        await talk.travel(seconds=60)
    spent = await talk.sql("select tokens, turns from spending where session_id is null")
    assert spent == [{"tokens": 1000, "turns": 1}]


async def test_what_failed_by_itself_counts_each_time(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.travel(seconds=11)
    for _ in range(3):
        (turn,) = (await claim(talk))["turns"]
        reserved = {**held(turn), "tokens": 1000, "policy": {}}
        await talk.database.call("reserve_budget", reserved)
        await talk.fail(turn, tokens=None)
        await talk.travel(seconds=60)
    assert await talk.value("select tokens from spending where session_id is null") == 3000


async def test_a_turn_that_a_person_retried_has_the_age_from_then(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.fail(await talk.claim_one(), "permanent")
    await talk.travel(hours=5)
    await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": 1})
    for _ in range(30):
        (turn,) = (await claim(talk))["turns"]
        assert (await llm_is_away(talk, turn, max_attempts=2))["state"] == "pending"
        await talk.travel(seconds=60)
    await talk.travel(minutes=31)
    (turn,) = (await claim(talk))["turns"]  # no claim ends it
    assert (await llm_is_away(talk, turn))["state"] == "dead"
    assert (await the_turn(talk))["reason"] == "too_old"


# The age is judged at the claim


async def with_a_dead_router(talk: Conversation, turn: Json) -> None:
    pass


async def in_n8n(talk: Conversation, turn: Json) -> None:
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 90})


async def with_a_reply(talk: Conversation, turn: Json) -> None:
    await talk.save(turn, "Temos!")


async def with_a_part_that_did_not_leave(talk: Conversation, turn: Json) -> None:
    await talk.save(turn, "Temos!")
    begun = await talk.begin(turn, "Temos!")
    send = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("fail_send", send)


async def put_off_for_the_llm(talk: Conversation, turn: Json) -> None:
    await llm_is_away(talk, turn)


async def put_off_for_the_line(talk: Conversation, turn: Json) -> None:
    await with_a_part_that_did_not_leave(talk, turn)
    await line_is_away(talk, turn)


async def failed(talk: Conversation, turn: Json) -> None:
    await talk.fail(turn)


async def given_back(talk: Conversation, turn: Json) -> None:
    await talk.database.call("release_turn", held(turn))


@pytest.mark.parametrize(
    "left",
    [
        *(with_a_dead_router, in_n8n, with_a_reply, with_a_part_that_did_not_leave),
        *(put_off_for_the_llm, put_off_for_the_line, failed, given_back),
    ],
)
async def test_however_it_was_left_what_is_too_old_is_not_answered(talk: Conversation, left: Any):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await left(talk, turn)
    await talk.travel(hours=5)
    claimed = await claim(talk)
    assert claimed["turns"] == []
    session_id = (await talk.session())["id"]
    assert claimed["too_old"] == [{"turn_id": 1, "tenant_id": 1, "session_id": session_id}]
    row = await the_turn(talk)
    assert (row["state"], row["reason"], row["lease_until"]) == ("dead", "too_old", None)
    assert row["finished_at"] is not None
    assert row["error"]


async def test_a_flow_that_comes_back_after_that_is_told_so(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await in_n8n(talk, turn)
    await talk.travel(hours=5)
    await claim(talk)
    begun = await talk.database.call(
        "begin_flow_send", {**held(turn), "kind": "text", "body": "Temos!", "lease_seconds": 45}
    )
    assert begun["refused"] == "superseded"
    assert (await talk.database.call("finish_turn", held(turn)))["refused"] == "superseded"


async def test_what_somebody_works_on_is_not_judged(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 7200})
    await talk.travel(minutes=90)
    assert (await claim(talk))["too_old"] == []
    assert (await talk.begin(turn, "Temos!"))["ok"]


async def test_a_turn_with_a_part_on_the_phone_says_the_rest(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!", "De milho.")
    await talk.finish(turn, await talk.begin(turn, "Temos!"), "3EB001")
    await talk.travel(hours=5)
    assert [part["part"] for part in (await claim(talk))["turns"][0]["parts"]] == [0]


async def test_nor_one_whose_send_is_in_doubt_until_it_is_settled(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!")
    begun = await talk.begin(turn, "Temos!")
    await talk.travel(hours=5)
    (again,) = (await claim(talk))["turns"]
    assert again["parts"][0]["send_state"] == "sending"
    settled = {**held(again), "message_id": begun["message_id"], "outcome": "not_sent"}
    await talk.database.call("settle_send", settled | {"check_after": 3, "give_up_hours": 24})
    await talk.travel(seconds=61)
    assert (await claim(talk))["turns"] == []
    assert (await the_turn(talk))["reason"] == "too_old"


async def test_nor_one_that_a_person_retried(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.travel(hours=5)
    await claim(talk)
    await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": 1})
    await talk.travel(hours=5)
    assert len((await claim(talk))["turns"]) == 1


async def test_nor_one_that_took_over_from_a_retried_one(talk: Conversation):
    """It was retried while another was at work, which takes it along when it fails."""
    await talk.maria_writes("tem bolo?")
    await talk.fail(await talk.claim_one(), "permanent")
    await talk.maria_writes("e pão?")
    working = await talk.claim_one()
    await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": 1})
    await talk.fail(working)
    await talk.travel(hours=5)
    (turn,) = (await claim(talk))["turns"]
    assert answered(turn) == ["tem bolo?", "e pão?"]


async def test_nor_one_into_whose_session_a_retried_one_was_merged(talk: Conversation):
    await talk.maria_writes("tem bolo?", jids=[MARIA_LID])
    await talk.maria_writes("e pão?", jids=[MARIA])
    await talk.travel(hours=5)
    await claim(talk)
    for turn_id in (1, 2):
        await talk.database.call("retry_turn", {"tenant_id": 1, "turn_id": turn_id})
    await talk.sql("update turns set retried_at = null where id = 1")
    await talk.maria_writes("alguém?", jids=[MARIA, MARIA_LID], expects_reply=False, ago=18000)
    (turn,) = (await claim(talk))["turns"]
    assert answered(turn)[:2] == ["tem bolo?", "e pão?"]


async def test_a_new_message_makes_it_young_again(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.travel(hours=5)
    await talk.maria_writes("alguém aí?")
    await talk.travel(seconds=11)
    (turn,) = (await claim(talk))["turns"]
    assert answered(turn) == ["tem bolo?", "alguém aí?"]


async def test_whoever_was_not_answered_in_time_is_answered_the_next_time(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.travel(hours=5)
    await claim(talk)
    await talk.maria_writes("alguém aí?")
    await talk.travel(seconds=11)
    (turn,) = (await claim(talk))["turns"]
    assert answered(turn) == ["alguém aí?"]


@pytest.mark.parametrize(("minutes", "is_answered"), [(10, False), (180, True)])
async def test_a_tenants_own_rule_goes_before_the_deployments(
    talk: Conversation, minutes: int, is_answered: bool
):
    await talk.set_rule("answer_within_minutes", minutes)
    await talk.maria_writes("tem bolo?")
    await talk.travel(minutes=11 if minutes == 10 else 170)
    assert bool((await claim(talk))["turns"]) == is_answered


# When the outage ends


async def out_of_reach(talk: Conversation, away: Any, count: int) -> list[str]:
    """So many customers wait for what is away, and for nothing else."""
    jids = await customers_write(talk, count)
    while turns := (await claim(talk))["turns"]:
        for turn in turns:
            if away is line_is_away:
                await with_a_part_that_did_not_leave(talk, turn)
            await away(talk, turn, base_seconds=3000)
    return jids


async def llm_answers(talk: Conversation) -> Json:
    """Somebody new is answered; what they are told does not leave yet."""
    jid = f"5521{next(talk._ids):08}@s.whatsapp.net"
    decision = await talk.maria_writes("oi", jids=[jid])
    due = "update turns set run_after = $1 where session_id = $2"
    await talk.sql(due, talk.now(), decision["session_id"])
    (turn,) = (await claim(talk, 1))["turns"]
    assert turn["session"]["jid"] == jid
    reply = {**held(turn), "parts": ["Olá!"], "handler": "fallback", "provider": "anthropic"}
    await talk.database.call("save_reply", reply)
    return turn


async def line_is_up(talk: Conversation) -> None:
    event = {"instance": talk.instance, "event": "connection.update", "type": "connection"}
    key = f"connection:{next(talk._ids)}"
    await talk.ingest({**event, "key": key, "state": "open", "reason": "200"})


async def a_send_works(talk: Conversation) -> None:
    """A reply leaves, and nobody has told of the line."""
    turn = await llm_answers(talk)
    await talk.finish(turn, await talk.begin(turn, "Olá!"), f"3EB0C{next(talk._ids):07X}")


ENDS = pytest.mark.parametrize(
    ("away", "ends"),
    [(llm_is_away, llm_answers), (line_is_away, line_is_up), (line_is_away, a_send_works)],
)


@ENDS
async def test_what_waits_goes_at_once_the_newest_conversations_first(
    talk: Conversation, away: Any, ends: Any
):
    jids = await out_of_reach(talk, away, 8)
    assert (await claim(talk))["turns"] == []
    await ends(talk)
    first = await claim(talk, 3)
    assert sorted(who(first)) == sorted(jids[-3:])
    rest = await claim(talk)
    assert sorted(who(first) + who(rest)) == sorted(jids)


@ENDS
async def test_thousands_are_let_go_a_few_at_a_time_and_still_in_that_order(
    talk: Conversation, away: Any, ends: Any
):
    await talk.sql(
        "with s as (insert into sessions (tenant_id, phone_jid, last_contact_at)"
        " select 1, (5511900000000 + g) || '@s.whatsapp.net', now() - g * interval '0.1 seconds'"
        " from generate_series(1, 250) as g returning id)"
        " insert into turns (tenant_id, session_id, run_after, debounce_until, waits, waits_for)"
        " select 1, id, now() + interval '1 hour', now(), 1, $1 from s",
        "llm anthropic" if away is llm_is_away else "line 1",
    )
    due: list[list[datetime]] = []
    query = (
        "select t.run_after from turns as t join sessions as s on s.id = t.session_id"
        " where t.waits = 1 and t.waits_for is null order by s.last_contact_at"
    )
    for _ in range(3):
        await ends(talk)
        due.append([row["run_after"] for row in await talk.sql(query)])
    assert [len(each) for each in due] == [100, 200, 250]
    for each in due:
        assert each == sorted(each)  # who is due last is claimed first
        assert max(each) <= talk.now()


async def test_who_wrote_again_meanwhile_is_a_new_conversation(talk: Conversation):
    jids = await out_of_reach(talk, llm_is_away, 5)
    await talk.maria_writes("alguém?", jids=[jids[0]])
    await llm_answers(talk)
    assert who(await claim(talk, 1)) == [jids[0]]


async def test_only_what_waits_for_it_goes(talk: Conversation):
    """Another LLM, a key of its own, the line, and what was told to wait until then."""
    names = {"other": {"llm_provider": "openai"}, "own": {"llm_api_key": "sealed"}, "limited": {}}
    for name, settings in {**names, "down": {}}.items():
        await talk.open_shop(name, **settings)
        await talk.maria_writes("oi", instance=name)
    await talk.travel(seconds=11)
    for turn in (await claim(talk))["turns"]:
        match turn["tenant"]["instance_name"]:
            case "down":
                await line_is_away(talk, turn, base_seconds=3000)
            case "limited":
                await llm_is_away(talk, turn, base_seconds=3000, retry_after=900)
            case _:
                await llm_is_away(talk, turn, base_seconds=3000)
    await llm_answers(talk)
    assert (await claim(talk))["turns"] == []
    assert [
        row["waits_for"] for row in await talk.sql("select waits_for from turns order by id")
    ] == [
        "llm openai",
        "llm anthropic 3",
        None,
        "line 5",
        None,
    ]


async def test_the_line_of_another_tenant_is_its_own(talk: Conversation):
    await out_of_reach(talk, line_is_away, 2)
    await talk.open_shop("other")
    event = {"instance": "other", "event": "connection.update", "type": "connection"}
    await talk.ingest({**event, "key": "connection:x", "state": "open", "reason": "200"})
    assert (await claim(talk))["turns"] == []


async def test_what_a_flow_says_lets_go_its_own_tenants_turns_alone(talk: Conversation):
    await talk.open_shop("other")
    await talk.maria_writes("oi", instance="other")
    await out_of_reach(talk, llm_is_away, 2)
    await talk.maria_writes("oi, sou o João", jids=[JOAO])
    await talk.travel(seconds=11)
    (joao,) = [turn for turn in (await claim(talk))["turns"] if turn["session"]["jid"] == JOAO]
    said = {**held(joao), "kind": "text", "body": "Olá!", "lease_seconds": 45}
    await talk.database.call("begin_flow_send", said)
    assert {turn["tenant"]["instance_name"] for turn in (await claim(talk))["turns"]} == {"shop"}


async def test_a_turn_that_has_said_something_goes_on_at_once_too(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    await talk.finish(turn, await talk.begin(turn, "um"), "3EB001")
    begun = await talk.begin(turn, "dois", part=1)
    send = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("fail_send", send)
    await line_is_away(talk, turn, base_seconds=3000)
    assert (await claim(talk))["turns"] == []
    await a_send_works(talk)
    assert [turn["turn_id"] for turn in (await claim(talk))["turns"]] == [1]


async def test_a_turn_that_was_stopped_meanwhile_stays_so(talk: Conversation):
    jids = await out_of_reach(talk, llm_is_away, 2)
    await talk.owner_writes("deixa comigo", jids=[jids[0]])
    await llm_answers(talk)
    assert who(await claim(talk)) == [jids[1]]


async def test_a_router_of_0_1_0_ends_no_turn_for_its_age(talk: Conversation):
    """It does not say how old is too old, and its deployment may allow more than an hour."""
    allows = {**POLICY, "answer_within_minutes": 720}
    await talk.ingest(talk.message("oi", ago=2 * 3600), policy=allows)
    await talk.travel(seconds=11)
    assert len(await talk.claim()) == 1
