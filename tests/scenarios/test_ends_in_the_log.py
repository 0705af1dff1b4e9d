"""How a turn ended stands in the log, whoever closed it: the reply's sender, a flow, a claim."""

import asyncio
import logging

import pytest

from loopback.evolution import failures
from tests.scenarios.flow import given, n8n, playing, stage
from tests.scenarios.stage import Stage
from tests.scenarios.test_unsent_of_flows import actions

__all__ = ["n8n", "stage"]


def ends(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in actions(caplog) if each in ("ai_replied", "turn_dead")]


async def told(caplog: pytest.LogCaptureFixture) -> None:
    """Wait for the line: the state knows how a turn ended before the router tells it."""
    async with asyncio.timeout(20):
        while not ends(caplog):
            await asyncio.sleep(0.01)


async def test_a_turn_whose_last_attempt_falls_silent_is_told_to_be_dead(
    database_url: str, evolution, llm, n8n, caplog
):
    caplog.set_level(logging.INFO)
    async with playing(database_url, evolution, llm, n8n, TURN_MAX_ATTEMPTS="1") as stage:
        await stage.maria.writes("tem bolo?")
        await given(stage, n8n)
        await stage.leases_run_out()
        (turn,) = await stage.turns_end()
        assert turn["state"] == "dead"
        await told(caplog)
    (line,) = [line for line in caplog.records if getattr(line, "action", "") == "turn_dead"]
    assert line.__dict__["fields"]["turn_id"] == turn["id"]


@pytest.mark.parametrize("says_first", [True, False])
async def test_a_handoff_is_a_reply_for_the_contact_is_told_of_it(
    stage: Stage, n8n, caplog, says_first: bool
):
    caplog.set_level(logging.INFO)
    await stage.maria.writes("quero gente")
    flow = await given(stage, n8n)
    if says_first:
        await flow.sends("Já chamo alguém.")
    assert (await flow.reports("handoff", reason="quer gente")).is_success
    await stage.turns_end()
    await told(caplog)
    assert ends(caplog) == ["ai_replied"]


async def test_done_with_a_part_that_did_not_leave_is_no_whole_reply(stage: Stage, n8n, caplog):
    caplog.set_level(logging.INFO)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await flow.sends("Temos!")
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    assert (await flow.sends("Quer um?")).status_code == 503
    assert (await flow.reports("done")).is_success
    (turn,) = await stage.turns_end()
    assert turn["incomplete"]
    assert ends(caplog) == []
    assert "turn_cancelled" in actions(caplog)


async def test_what_a_settled_doubt_ends_is_told_as_a_reply(
    database_url: str, evolution, llm, n8n, caplog
):
    caplog.set_level(logging.INFO)
    async with playing(database_url, evolution, llm, n8n, N8N_ENABLED="false") as stage:
        stage.shop.tells_sends = "never"
        stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.turns_end()
        assert turn["state"] == "sent"
        await told(caplog)
    assert ends(caplog) == ["ai_replied"]
