"""Whatever fails in the workflow ends in `fail` with the right kind, and the turn with it."""

from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import failures
from loopback.faults import Fault, wrong_answer
from loopback.openai import OpenAI
from loopback.replies import empty
from tests.n8n_server import TestN8n

pytestmark = pytest.mark.n8n

ONCE = {"TURN_MAX_ATTEMPTS": "1"}
PUT_OFF = "select state, attempt, handler, error, error_kind from turns"


def is_put_off(turns: list[dict[str, Any]]) -> bool:
    """Whether the one turn waits until what is away is back."""
    return (turns[0]["error_kind"], turns[0]["state"]) == ("away", "pending")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("rate_limited", "llm_rate_limited"),
        ("overloaded", "llm_rate_limited"),
        ("broken", "llm_down"),
        ("cuts_connection", "llm_down"),
    ],
)
async def test_an_llm_that_is_away_uses_up_no_attempt_and_the_turn_is_answered_when_it_is_back(
    staged, llm, fault: str, kind: str
):
    llm.fail(getattr(llm, fault)(), times=None)
    async with staged("gateway", **ONCE) as stage:
        await stage.maria.writes("oi")
        (turn,) = await stage.until(PUT_OFF, is_put_off)
        assert (turn["attempt"], turn["handler"]) == (0, "n8n")
        assert turn["error"].startswith(f"{kind}: "), turn["error"]
        assert len(llm.requests) >= 3  # n8n's own tries
        llm.heal()
        await stage.maria.answered()
        (turn,) = await stage.turns_end()
    assert (turn["state"], turn["attempt"], turn["handler"]) == ("sent", 1, "n8n")
    assert len(stage.maria.replies) == 1


async def test_an_llm_that_stays_away_ends_the_turn_by_its_age(staged, llm):
    llm.fail(llm.broken(), times=None)
    async with staged("gateway", **ONCE) as stage:
        await stage.maria.writes("oi")
        await stage.until(PUT_OFF, is_put_off)
        await stage.time_passes(hours=2)
        (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"], turn["error_kind"]) == ("dead", "too_old", "away")
    assert stage.maria.replies == []


def refuses_the_request(llm: Anthropic) -> Fault:
    """The fault 400: this request is wrong, and the LLM is there."""
    error = {"type": "invalid_request_error", "message": "prompt is too long"}
    return wrong_answer(400, {"type": "error", "error": error})


async def test_an_account_that_is_refused_is_waited_for(staged, llm):
    llm.fail(llm.bad_key(), times=None)
    async with staged("gateway") as stage:
        await stage.maria.writes("oi")
        (turn,) = await stage.until(PUT_OFF, is_put_off)
        assert (turn["state"], turn["attempt"]) == ("pending", 0)
        (outage,) = await stage.sql("select cause from outages")
        assert outage["cause"] == "account_refused"
        llm.heal()
        await stage.time_passes(minutes=2)
        await stage.maria.answered()


async def test_used_up_credit_is_known_by_the_real_bodies(staged, n8n: TestN8n, llm):
    """Anthropic says it with 400, OpenAI with 429; so does a flow that breaks of it."""
    causes = "select cause from outages where ended_at is null"
    with OpenAI() as openai:
        n8n.openai.leads_to(openai.url)
        async with staged("gateway") as stage:
            for server, provider, count in ((llm, "anthropic", 1), (openai, "openai", 2)):
                await stage.sql("update tenants set llm_provider = $1", provider)
                server.fail(server.no_credit(), times=None)
                await stage.maria.writes("oi")
                (outage,) = await stage.until(causes, bool)
                assert outage["cause"] == "account_empty"
                server.heal()
                await stage.time_passes(minutes=2)
                await stage.maria.answered(count)
                await stage.turns_end()
                await stage.until(causes, lambda rows: not rows)
        n8n.openai.leads_to(None)


async def test_a_flow_that_breaks_of_it_is_known_by_the_error_workflow(staged, n8n: TestN8n, llm):
    """No attempt is there to say the fallback message: it is said all the same, once."""
    llm.fail(llm.no_credit(), times=None)
    async with staged("unpaid", N8N_LEASE_SECONDS="600") as stage:
        n8n.router.leads_to(stage.router_url)
        await stage.change(fallback_message="Um momento, por favor.")
        await stage.maria.writes("oi")
        await stage.maria.answered()
        (turn,) = await stage.until(PUT_OFF, is_put_off)
        assert "credit balance" in turn["error"]
        assert stage.maria.replies == ["Um momento, por favor."]
        assert not await stage.paused()
        (outage,) = await stage.sql("select cause from outages")
        assert outage["cause"] == "account_empty"


@pytest.mark.parametrize("fault", [Anthropic.no_such_model, refuses_the_request])
async def test_an_llm_that_refuses_is_reported_after_n8ns_own_tries(staged, llm, fault):
    llm.fail(fault(llm), times=None)
    async with staged("gateway") as stage:
        await stage.maria.writes("oi")
        (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"], turn["error_kind"]) == ("dead", "n8n", "permanent")
    assert turn["error"].startswith("llm_refused: "), turn["error"]
    assert len(llm.requests) == 3


async def test_an_llm_that_is_back_at_the_second_try_is_not_reported(staged, llm):
    llm.fail(llm.overloaded(), times=1)
    async with staged("gateway", **ONCE) as stage:
        await stage.maria.writes("oi")
        await stage.maria.answered()
        (turn,) = await stage.turns_end()
    assert (turn["state"], turn["provider"]) == ("sent", "anthropic")
    assert turn["tokens_in"] > 0


async def test_an_empty_reply_is_no_llm_that_is_down_and_uses_up_attempts(staged, llm):
    llm.answers_always(empty())
    async with staged("gateway", **ONCE) as stage:
        await stage.maria.writes("oi")
        (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error_kind"], turn["attempt"]) == ("dead", "transient", 1)
    assert turn["error"].startswith("llm_empty: 400")


@pytest.mark.parametrize(
    ("fault", "kind", "state"),
    [
        (failures.BAD_KEY, "evolution_refused", "dead"),
        (failures.not_on_whatsapp("5511955550001"), "not_on_whatsapp", "dead"),
    ],
)
async def test_a_failing_evolution_is_reported(staged, fault, kind: str, state: str):
    async with staged("gateway", **ONCE) as stage:
        stage.shop.fail("sendText", fault, times=None)
        await stage.maria.writes("oi")
        (turn,) = await stage.turns_end()
    assert turn["state"] == state
    assert turn["error"].startswith(f"{kind}: "), turn["error"]


async def test_an_evolution_that_is_away_is_reported_and_uses_up_no_attempt(staged):
    async with staged("gateway", **ONCE) as stage:
        stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
        await stage.maria.writes("oi")
        (turn,) = await stage.until(PUT_OFF, is_put_off)
        assert turn["attempt"] == 0
        assert turn["error"].startswith("evolution_away: "), turn["error"]
        stage.shop.heal()
        await stage.maria.answered()


async def test_an_openai_tenant_is_answered_by_openai(staged, n8n: TestN8n, llm):
    with OpenAI() as openai:
        n8n.openai.leads_to(openai.url)
        async with staged("gateway") as stage:
            await stage.sql("update tenants set llm_provider = 'openai', llm_model = 'gpt-own'")
            for text in ("oi", "tem bolo?"):
                await stage.maria.writes(text)
                await stage.maria.answered(len(stage.maria.replies) + 1)
            turns = await stage.turns_end()
        n8n.openai.leads_to(None)
        assert llm.requests == []
        asked = openai.requests[-1]
    assert asked.model == "gpt-own"
    assert [role for role, _ in asked.messages] == ["user", "assistant", "user"]
    assert turns[-1]["model"] == "gpt-own"
