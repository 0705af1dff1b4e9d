"""What n8n is asked to delete: executions, whatever a flow or its webhook says its execution is."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loopback.server import LoopbackServer
from loopback.waiting import Changes
from tests.scenarios.flow import given, n8n, playing
from tests.scenarios.stage import Stage
from tests.unit.test_execution_ids import FOREIGN

__all__ = ["n8n"]


class PublicApi(LoopbackServer):
    """n8n's public API, which has deleted everything already."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.changes = Changes()

        async def take(request: Request) -> JSONResponse:
            with self.changes.made():
                self.asked.append((request.method, request.scope["raw_path"].decode()))
            return JSONResponse({"message": "Not Found"}, status_code=404)

        route = Route("/{path:path}", take, methods=["DELETE", "GET", "POST"])
        super().__init__(Starlette(routes=[route]))


@pytest.fixture
def api() -> Iterator[PublicApi]:
    with PublicApi() as api:
        yield api


@pytest.fixture
async def stage(database_url: str, evolution, llm, n8n, api) -> AsyncIterator[Stage]:
    of_n8n = {
        "N8N_PUBLIC_API_URL": f"{api.url}/api/v1",
        "N8N_PUBLIC_API_KEY": "public-key-of-n8n-0000001",
    }
    async with playing(database_url, evolution, llm, n8n, **of_n8n) as stage:
        yield stage


async def test_a_flow_has_nothing_deleted_in_n8n_but_its_execution(stage: Stage, n8n, api):
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    for text in FOREIGN:
        refused = await flow.reports("began", execution_id=text)
        assert refused.status_code == 422, text
        assert "execution_id" in refused.json()["error"]["message"]
    assert (await flow.reports("began", execution_id="4711")).status_code == 200
    for text in FOREIGN:
        assert (await flow.reports("began", execution_id=text)).status_code == 422
    await flow.reports("done")
    await erase_maria(stage)
    await api.changes.until(lambda: api.asked, "n8n is asked to delete")
    assert api.asked == [("DELETE", "/api/v1/executions/4711")]


@pytest.mark.parametrize("text", ["../workflows/abc123", "4711?", "04711", "x" * 500])
async def test_what_the_webhook_answers_is_no_path_either(
    stage: Stage, n8n, api, text: str, caplog: pytest.LogCaptureFixture
):
    n8n.says["execution_id"] = text
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    assert (await flow.reports("done")).status_code == 200
    said = "must answer with `$execution.id`"
    async with asyncio.timeout(10):
        while not any(said in line.getMessage() for line in caplog.records):
            await asyncio.sleep(0.01)
    (turn,) = await stage.sql("select execution_id, state from turns")
    assert (turn["execution_id"], turn["state"]) == (None, "sent")
    erased = await erase_maria(stage)
    assert erased["execution_ids"] == []


@pytest.mark.parametrize("text", ["4711%3F", "04711", "%2E%2E%2Fworkflows", "undefined"])
async def test_a_crash_is_told_of_an_execution_alone(stage: Stage, n8n, text: str):
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    await flow.reports("began", execution_id="4711")
    answer = await flow.post(f"/n8n/executions/{text}/fail")
    assert answer.status_code in (404, 422)
    (turn,) = await stage.sql("select state from turns")
    assert turn["state"] == "running"


async def erase_maria(stage: Stage) -> dict[str, list[str]]:
    return await stage.post(
        "/api/contacts/5511955550001/erase", params={"tenant_id": stage.tenant_id}
    )
