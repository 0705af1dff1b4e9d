"""The standard flow in a real n8n, by the answer contract: it answers, and the router sends."""

import pytest

from loopback.anthropic import Anthropic
from loopback.openai import OpenAI
from tests.n8n_server import TestN8n
from tests.scenarios.stage import Stage

pytestmark = pytest.mark.n8n
QUICK = {"RETRY_BASE_SECONDS": "0.1", "TURN_LEASE_SECONDS": "600", "N8N_LEASE_SECONDS": "600"}
ONCE = {**QUICK, "TURN_MAX_ATTEMPTS": "1"}


async def the_turn(stage: Stage):
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    return turn


async def test_claude_is_asked_with_the_conversation_as_messages(staged, llm: Anthropic):
    llm.answers("**Temos**!")
    async with staged(**QUICK) as stage:
        turn = await the_turn(stage)
        assert stage.maria.replies == ["*Temos*!"]
        assert (turn["state"], turn["handler"], turn["attempt"]) == ("sent", "n8n", 1)
        assert turn["provider"] == "anthropic"
        assert turn["tokens_in"] > 0
        assert turn["tokens_out"] > 0
        await stage.maria.writes("e pão?")
        await stage.maria.answered(2)
        await stage.turns_end()
    asked = llm.requests[-1]
    assert [role for role, _ in asked.messages] == ["user", "assistant", "user"]


async def test_openai_is_asked_for_its_tenants(staged, n8n: TestN8n, llm: Anthropic):
    with OpenAI() as openai:
        n8n.openai.leads_to(openai.url)
        more = {"OPENAI_BASE_URL": f"{openai.url}/v1"}
        async with staged(**QUICK, **more) as stage:
            await stage.sql("update tenants set llm_provider = 'openai', llm_model = 'gpt-own'")
            turn = await the_turn(stage)
        n8n.openai.leads_to(None)
    assert (turn["state"], turn["provider"], turn["model"]) == ("sent", "openai", "gpt-own")
    assert llm.requests == []


async def test_a_model_that_is_not_there_is_told(staged, llm: Anthropic):
    llm.fail(llm.no_such_model(), times=None)
    async with staged(**QUICK) as stage:
        turn = await the_turn(stage)
    assert (turn["state"], turn["error_kind"]) == ("dead", "permanent")
    assert "neither the key nor the model" in turn["error"]


async def test_a_failure_ends_red_in_n8n_and_is_found_there_by_its_turn(
    staged, n8n: TestN8n, llm: Anthropic
):
    llm.fail(llm.no_such_model(), times=None)
    n8n.router.leads_to(None)
    async with staged(**QUICK) as stage:
        turn = await the_turn(stage)
        await n8n.falls_silent()
    assert (turn["state"], turn["error_kind"]) == ("dead", "permanent")
    execution = await n8n.execution(turn["execution_id"])
    assert execution["status"] == "error"
    said = {"turn_id": str(turn["id"]), "correlation_id": turn["correlation_id"]}
    assert execution["custom_data"] == said
    path = f"/workflow/hybridflowInbound/executions/{turn['execution_id']}"
    assert turn["execution_url"] == n8n.server.home.url + path


@pytest.mark.parametrize(
    "fault",
    [Anthropic.rate_limited, Anthropic.overloaded, Anthropic.bad_key, Anthropic.no_credit],
)
async def test_a_model_that_is_down_uses_up_no_attempt(staged, llm: Anthropic, fault):
    llm.fail(fault(llm), times=3)
    async with staged(**QUICK) as stage:
        turn = await the_turn(stage)
        assert len(stage.maria.replies) == 1
    assert (turn["state"], turn["handler"], turn["attempt"]) == ("sent", "n8n", 1)


@pytest.mark.parametrize("flow", ["answer-empty", "answer-crash", "answer-tired"])
async def test_a_flow_without_an_answer_is_a_failed_attempt_and_never_silence(staged, flow: str):
    async with staged(flow, **ONCE) as stage:
        turn = await the_turn(stage)
        assert stage.maria.replies == []
    assert (turn["state"], turn["error_kind"]) == ("dead", "transient")
    assert "flow" in turn["error"]


async def test_a_flow_calls_a_human_after_its_words(staged):
    async with staged("answer-human", **QUICK) as stage:
        turn = await the_turn(stage)
        assert stage.maria.replies == ["Já chamo!"]
        assert await stage.paused()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")


async def test_n8n_killed_under_a_turn_is_noticed_at_once(staged, mortal: TestN8n):
    async with staged(**QUICK) as stage:
        gate = stage.llm.hold()
        await stage.maria.writes("tem bolo?")
        await gate.reached()
        mortal.server.kill()
        stage.llm.heal()
        (turn,) = await stage.turns_end()
        assert len(stage.maria.replies) == 1
    assert (turn["state"], turn["handler"]) == ("sent", "fallback")
