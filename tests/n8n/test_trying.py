"""Test turns in a real n8n: flows of both contracts go to their end, and nothing leaves."""

from typing import Any

import httpx
import pytest

from tests.n8n.conftest import Staged
from tests.routers import API_KEY
from tests.scenarios.stage import Stage

pytestmark = pytest.mark.n8n


async def tries(stage: Stage, name: str = "padaria", **wanted: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=stage.router_url, timeout=100) as client:
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
        assert stage.shop.calls_made == []
        assert await stage.sql("select * from turns") == []


async def test_a_flow_that_sends_by_itself_goes_to_its_end(staged: Staged):
    async with staged("parts") as stage:
        tried = await tries(stage)
        assert [each["text"] for each in tried["said"]] == ["parte um", "parte dois"]
        assert tried["ok"], tried
        assert stage.shop.calls_made == []


async def test_a_flow_that_writes_to_somebody_else_is_told_what_the_gateway_said(staged: Staged):
    async with staged("stranger") as stage:
        tried = await tries(stage)
        assert tried["said"] == []
        assert stage.shop.calls_made == []


async def test_a_flow_that_crashes_is_told_as_that(staged: Staged):
    async with staged("answer-crash") as stage:
        tried = await tries(stage)
        assert not tried["ok"]
        assert "n8n answered 500: an error of the flow" in tried["error"]
