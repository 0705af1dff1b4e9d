"""What a builder's flow may do wrong, and what becomes of it: each in the real n8n."""

import pytest

from tests.scenarios.stage import Stage

pytestmark = pytest.mark.n8n

SHORT = {"N8N_LEASE_SECONDS": "3"}


async def the_turn(stage: Stage):
    (turn,) = await stage.turns_end()
    return turn


async def test_a_flow_that_sends_twice_is_heard_once(staged):
    async with staged("twice") as stage:
        await stage.maria.writes("oi")
        turn = await the_turn(stage)
        assert stage.maria.replies == ["uma vez"]
    assert (turn["state"], turn["incomplete"]) == ("sent", False)


async def test_a_flow_may_say_two_things(staged):
    async with staged("parts") as stage:
        await stage.maria.writes("oi")
        await stage.turns_end()
        assert stage.maria.replies == ["parte um", "parte dois"]


async def test_a_flow_that_never_ends_is_closed_with_what_it_said(staged):
    async with staged("endless") as stage:
        await stage.maria.writes("oi")
        await stage.maria.answered()
        await stage.leases_run_out()
        turn = await the_turn(stage)
        assert stage.maria.replies == ["só isto"]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)


async def test_a_flow_that_sends_after_a_takeover_is_refused(staged):
    async with staged("parts") as stage:
        gate = stage.shop.hold("sendText", after=True)
        await stage.maria.writes("oi")
        await gate.reached()
        await stage.shop.owner.writes(stage.maria, "deixa comigo")
        gate.open()
        turn = await the_turn(stage)
        assert stage.maria.replies == ["parte um"]
        assert await stage.paused()
    assert (turn["state"], turn["incomplete"]) == ("sent", True)


async def test_a_flow_that_does_nothing_is_left_for_the_fallback(staged):
    async with staged("mute", **SHORT, TURN_MAX_ATTEMPTS="6") as stage:
        await stage.maria.writes("oi")
        await stage.maria.answered()
        turn = await the_turn(stage)
        assert len(stage.maria.replies) == 1
    assert turn["handler"] == "fallback"


async def test_a_flow_with_nothing_to_say_closes_the_turn(staged):
    async with staged("silent") as stage:
        await stage.maria.writes("oi")
        turn = await the_turn(stage)
        assert stage.maria.replies == []
    assert turn["state"] == "sent"


async def test_a_crash_reaches_the_router_by_the_error_workflow(staged, n8n):
    async with staged("crash", TURN_MAX_ATTEMPTS="1", N8N_LEASE_SECONDS="600") as stage:
        n8n.router.leads_to(stage.router_url)
        await stage.maria.writes("oi")
        turn = await the_turn(stage)
    assert turn["state"] == "dead"
    assert turn["error"] == "flow_error in the node crash 2: the builder's mistake"


async def test_a_crash_after_half_a_reply_closes_the_turn_as_sent(staged, n8n):
    async with staged("halfway", N8N_LEASE_SECONDS="600") as stage:
        n8n.router.leads_to(stage.router_url)
        await stage.maria.writes("oi")
        turn = await the_turn(stage)
        assert stage.maria.replies == ["metade"]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert "too late" in turn["error"]


async def test_a_flow_cannot_write_to_somebody_else(staged):
    async with staged("stranger") as stage:
        await stage.maria.writes("oi")
        await stage.turns_end()
        assert stage.shop.calls("sendText") == []


async def test_a_flow_that_speaks_and_dies_before_it_answers_the_router_is_not_answered_for(staged):
    async with staged("late") as stage:
        await stage.maria.writes("oi")
        turn = await the_turn(stage)
        assert stage.maria.replies == ["antes de responder"]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
