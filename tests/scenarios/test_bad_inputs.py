"""Every bad input of SECURITY.md gets what stands there, and the router goes on working."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.clients import patient
from tests.scenarios.bad_inputs import TABLES, BadInput, as_markdown
from tests.scenarios.stage import Stage, performance

_GUIDE = Path(__file__).resolve().parents[2] / "SECURITY.md"


@pytest.fixture
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    configuration = {
        "ALLOWED_NETWORKS": f"127.0.0.1:{httpx.URL(evolution.url).port}",
        "MAX_WEBHOOK_BYTES": "50000",
        "MAX_REQUEST_BYTES": "100000",
        "N8N_ENABLED": "true",
        "N8N_CONTRACT": "gateway",
        "N8N_WEBHOOK_URL": "http://127.0.0.1:9/webhook",
        "N8N_API_KEY": "a-key-for-n8n-in-the-tests",
    }
    async with performance(database_url, evolution, llm, **configuration) as stage:
        await stage.maria.writes("oi")
        await stage.maria.answered()
        yield stage


@pytest.mark.parametrize("table", TABLES)
async def test_bad_inputs_get_what_the_guide_says_and_break_nothing(stage: Stage, table: str):
    async with patient(base_url=stage.router_url) as client:
        wrong = [told for bad in TABLES[table] if (told := await _judge(client, bad))]
        assert not wrong, "\n".join(wrong)
        assert (await client.get("/health")).json()["checks"]["database"]["status"] == "ok"
    asked = len(stage.maria.replies)
    await stage.sql("update tenants set forbidden_patterns = '{}'")
    await stage.sql("update sessions set is_paused = false")
    await stage.maria.writes("ainda aí?")
    await stage.maria.answered(asked + 1)


async def _judge(client: httpx.AsyncClient, bad: BadInput) -> str | None:
    request = client.build_request(
        bad.method, bad.path, headers=bad.headers, params=bad.query, content=bad.body
    )
    answer = await client.send(request)
    got = f"{answer.status_code} {_outcome(answer)}"
    if got.startswith(bad.got):
        return None
    return f"{bad.what}: {got}, not {bad.got}: {answer.text[:200]}"


def _outcome(answer: httpx.Response) -> str:
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return ""
    said = answer.json()
    if answer.is_success:
        return str(said.get("status", ""))
    error = said["error"]
    assert error if isinstance(error, str) else error["message"]
    return str(error if isinstance(error, str) else error["code"])


def test_the_guides_tables_are_those_that_are_tried():
    guide = _GUIDE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- bad inputs -->\n(.*?)\n<!-- end -->", guide, re.DOTALL)
    assert shown.strip() == as_markdown().strip()
