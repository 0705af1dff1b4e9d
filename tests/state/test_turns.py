"""Turns: from the customer's message to one reply, through every end."""

import asyncio

from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, Conversation, answered, held


async def test_three_quick_messages_are_answered_by_one_turn(talk: Conversation):
    for text in ("oi", "tudo bem?", "qual o preço?"):
        decision = await talk.maria_writes(text)
        assert decision["decision"] == "turn_pending"
    assert await talk.claim() == []

    turn = await talk.claim_one()

    assert answered(turn) == ["oi", "tudo bem?", "qual o preço?"]
    assert await talk.turn_states() == ["running"]


async def test_the_debounce_moves_with_each_message_up_to_the_cap(talk: Conversation):
    await talk.maria_writes("1")
    for text in "23456789":
        await talk.travel(seconds=1.5)
        await talk.maria_writes(text)
    assert await talk.turn_states() == ["pending"]

    turn = (await talk.turns())[0]

    assert turn["run_after"] == turn["debounce_until"]


async def test_a_tenants_own_debounce_goes_before_the_deployments(talk: Conversation):
    await talk.set_rule("debounce_seconds", 0)
    await talk.maria_writes("oi")
    assert len(await talk.claim()) == 1


async def test_what_is_written_during_a_turn_waits_for_the_next(talk: Conversation):
    await talk.maria_writes("oi")
    first = await talk.claim_one()
    await talk.maria_writes("e o B?")
    await talk.travel(seconds=20)
    assert await talk.claim() == []

    await talk.save(first, "Olá!")
    begun = await talk.begin(first, "Olá!")
    assert (await talk.finish(first, begun, "3EB001"))["turn_state"] == "sent"

    (second,) = await talk.claim()
    assert answered(second) == ["e o B?"]
    assert [m["body"] for m in second["history"]] == ["oi", "Olá!", "e o B?"]


async def test_who_ends_a_turn_hears_whether_one_is_due_that_nobody_has(talk: Conversation):
    await talk.maria_writes("oi")
    first = await talk.claim_one()
    await talk.save(first, "um", "dois")
    begun = await talk.begin(first, "um")
    assert "leaves_due" not in await talk.finish(first, begun, "3EB001"), "it is not closed yet"
    begun = await talk.begin(first, "dois", part=1)
    assert not (await talk.finish(first, begun, "3EB002"))["leaves_due"]

    await talk.maria_writes("e o B?")
    second = await talk.claim_one()
    await talk.maria_writes("e o C?")
    await talk.save(second, "B")
    begun = await talk.begin(second, "B")
    await talk.travel(seconds=20)
    assert (await talk.look())["left"], "her own turn is in the way of it"
    assert (await talk.finish(second, begun, "3EB003"))["leaves_due"]
    await talk.claim_one()
    assert not (await talk.look())["left"]


async def test_a_tenant_may_prefer_to_start_the_running_turn_again(talk: Conversation):
    await talk.set_rule("on_new_message", "restart")
    await talk.maria_writes("oi")
    first = await talk.claim_one()
    await talk.save(first, "Olá!")
    await talk.maria_writes("e o B?")

    assert (await talk.begin(first, "Olá!"))["refused"] == "stale"
    again = await talk.claim_one()
    assert again["turn_id"] == first["turn_id"]
    assert again["reply"] is None
    assert answered(again) == ["oi", "e o B?"]


async def test_a_claimed_turn_is_not_claimed_again_while_its_lease_lasts(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.claim_one(lease=60)
    await talk.travel(seconds=59)
    assert await talk.claim() == []


async def test_an_expired_lease_brings_the_turn_back_and_kills_the_old_token(talk: Conversation):
    await talk.maria_writes("oi")
    first = await talk.claim_one(lease=60)
    await talk.travel(seconds=61)

    (second,) = await talk.claim()

    assert second["turn_id"] == first["turn_id"]
    assert second["attempt"] == 2
    assert (await talk.begin(first, "velho"))["refused"] == "stale"
    assert (await talk.begin(second, "novo"))["ok"]


async def test_an_expired_lease_is_worth_nothing_even_before_the_turn_is_claimed_again(
    talk: Conversation,
):
    await talk.maria_writes("oi")
    turn = await talk.claim_one(lease=60)
    await talk.travel(seconds=61)
    assert (await talk.begin(turn, "tarde"))["refused"] == "stale"


async def test_a_saved_reply_is_handed_to_the_next_attempt(talk: Conversation):
    await talk.maria_writes("oi")
    first = await talk.claim_one(lease=60)
    await talk.save(first, "um", "dois")
    begun = await talk.begin(first, "um")
    await talk.finish(first, begun, "3EB001")
    await talk.travel(seconds=61)

    (second,) = await talk.claim()

    assert second["reply"] == ["um", "dois"]
    assert [(p["part"], p["send_state"]) for p in second["parts"]] == [(0, "sent")]
    assert (await talk.begin(second, "um"))["refused"] == "already_sent"
    begun = await talk.begin(second, "dois", part=1)
    assert (await talk.finish(second, begun, "3EB002"))["turn_state"] == "sent"


async def test_a_transient_failure_waits_longer_each_time_and_then_is_dead(talk: Conversation):
    await talk.maria_writes("oi")
    waits = []
    for attempt in range(1, 6):
        turn = await talk.claim_one()
        assert turn["attempt"] == attempt
        result = await talk.fail(turn)
        if result["state"] == "dead":
            break
        run_after = (await talk.turns())[0]["run_after"]
        waits.append((run_after - talk.now()).total_seconds())
        await talk.travel(seconds=waits[-1])
    assert len(waits) == 4
    assert waits == sorted(waits)
    (turn_row,) = await talk.turns()
    assert (turn_row["state"], turn_row["error"]) == ("dead", "it did not work")


async def test_retry_after_is_honoured(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, retry_after=120)
    await talk.travel(seconds=100)
    assert await talk.claim() == []
    await talk.travel(seconds=21)
    assert len(await talk.claim()) == 1


async def test_a_permanent_failure_is_dead_at_once_and_an_operator_can_retry_it(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    assert (await talk.fail(turn, "permanent"))["state"] == "dead"
    tenant_id = (await talk.turns())[0]["tenant_id"]

    await talk.database.call("retry_turn", {"tenant_id": tenant_id, "turn_id": turn["turn_id"]})

    (again,) = await talk.claim()
    assert (again["turn_id"], again["attempt"]) == (turn["turn_id"], 1)
    assert answered(again) == ["oi"]


async def test_a_failed_turn_takes_along_what_was_written_meanwhile(talk: Conversation):
    await talk.maria_writes("oi")
    first = await talk.claim_one()
    await talk.save(first, "Olá!")
    await talk.maria_writes("alguém aí?")
    await talk.fail(first)

    assert await talk.turn_states() == ["pending", "cancelled"]
    again = await talk.claim_one()
    assert answered(again) == ["oi", "alguém aí?"]
    assert again["reply"] is None


async def test_a_turn_whose_every_attempt_crashes_is_dead_with_a_reason(talk: Conversation):
    await talk.maria_writes("oi")
    for _ in range(3):
        await talk.claim_one(lease=5, max_attempts=3)
    await talk.travel(seconds=11)
    assert await talk.claim(max_attempts=3) == []
    (turn,) = await talk.turns()
    assert (turn["state"], turn["error_kind"]) == ("dead", "crashed")


async def test_a_released_turn_is_due_at_once_and_the_attempt_does_not_count(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.database.call("release_turn", held(turn))
    (again,) = await talk.claim()
    assert again["attempt"] == 1


async def test_sessions_are_answered_in_parallel(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.maria_writes("oi, sou o João", jids=[JOAO])
    await talk.travel(seconds=11)
    assert len(await talk.claim()) == 2


async def test_two_claimers_at_the_same_moment_never_get_the_same_turn(
    talk: Conversation, database_url: str
):
    for number in range(30):
        await talk.maria_writes("oi", jids=[f"55119{number:08}@s.whatsapp.net"])
    claimers = [await DirectDatabase.connect(database_url, size=1) for _ in range(4)]
    routers = [talk, *map(Conversation, claimers)]
    try:
        for router in routers:
            await router.travel(seconds=11)
        claimed = await asyncio.gather(*(router.claim(limit=20) for router in routers[1:]))
    finally:
        for claimer in claimers:
            await claimer.close()
    ids = [turn["turn_id"] for turns in claimed for turn in turns]
    assert len(ids) == len(set(ids))
    rest = await talk.claim(limit=30)
    assert len(ids) + len(rest) == 30
