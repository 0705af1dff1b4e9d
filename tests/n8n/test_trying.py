"""Test turns in a real n8n: flows of both contracts go to their end, and nothing leaves."""

from typing import Any

import pytest

from tests.clients import patient
from tests.n8n.conftest import Staged
from tests.n8n_server import TestN8n
from tests.routers import API_KEY
from tests.scenarios.stage import Stage
from tests.scenarios.test_dry_turns import asked_of_evolution

pytestmark = pytest.mark.n8n


async def tries(stage: Stage, name: str = "padaria", **wanted: Any) -> dict[str, Any]:
    async with patient(base_url=stage.router_url) as client:
        answer = await client.post(
            f"/api/instances/{name}/try-flow", json=wanted, headers={"X-API-Key": API_KEY}
        )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_standard_flow_asks_the_llm_and_nothing_leaves(staged: Staged):
    async with staged() as stage:
        stage.llm.answers("Temos bolo de cenoura")
        tried = await tries(stage, text="tem bolo?")
        assert tried["said"] == [{"text": "Temos bolo de cenoura", "path": None, "body": None}]
        assert (tried["ok"], tried["contract"]) == (True, "answer")
        assert asked_of_evolution(stage) == []
        assert await stage.sql("select * from turns") == []


async def test_a_flow_that_sends_by_itself_goes_to_its_end(staged: Staged):
    async with staged("parts") as stage:
        tried = await tries(stage)
        assert [each["text"] for each in tried["said"]] == ["parte um", "parte dois"]
        assert tried["ok"], tried
        assert asked_of_evolution(stage) == []


async def test_a_flow_that_writes_to_somebody_else_is_told_what_the_gateway_said(staged: Staged):
    async with staged("stranger") as stage:
        tried = await tries(stage)
        assert tried["said"] == []
        assert asked_of_evolution(stage) == []


async def test_a_flow_that_crashes_is_told_as_that(staged: Staged):
    async with staged("answer-crash") as stage:
        tried = await tries(stage)
        assert not tried["ok"]
        assert "n8n answered 500: an error of the flow" in tried["error"]


async def test_a_webhook_as_the_editor_makes_it_is_told_what_it_lacks(staged: Staged):
    async with staged("answer-new") as stage:
        tried = await tries(stage)
        assert not tried["ok"]
        assert "set the HTTP Method of its Webhook node to POST" in tried["error"]


async def test_a_flow_of_nodes_as_the_editor_makes_them_answers_and_is_seen_without_being_begun(
    staged: Staged, n8n: TestN8n
):
    async with staged("answer-open") as stage:
        tried = await tries(stage)
        assert [each["text"] for each in tried["said"]] == ["Temos!"], tried
        await n8n.falls_silent()
        before = await n8n.begun()
        async with patient(base_url=stage.router_url) as client:
            health = (await client.get("/health")).json()
        assert health["checks"]["n8n"]["status"] == "ok", health
        assert await n8n.begun() == before
