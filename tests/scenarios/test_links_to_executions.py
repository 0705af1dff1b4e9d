"""Which execution of n8n worked on a turn, and where people see it: API, story and log say it."""

import re
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.flow import KEY, given
from tests.scenarios.flow import n8n as sending
from tests.scenarios.flow import playing as sending_play
from tests.scenarios.stage import Stage
from tests.scenarios.test_flows_that_answer import n8n, playing
from tests.scenarios.test_people_in_logs import Lines, lines

__all__ = ["lines", "n8n", "sending"]
HEADER = {"X-N8N-Execution": "hybridflowInbound/4711"}
EDITOR = {"N8N_EDITOR_URL": "https://n8n.example/"}
LINK = "https://n8n.example/workflow/hybridflowInbound/executions/4711"


async def get(stage: Stage, path: str) -> Any:
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(
            path, params={"tenant_id": stage.tenant_id}, headers={"X-API-Key": API_KEY}
        )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ({"text": "Temos!"}, "ai_replied"),
        ({"silence": "an emoji"}, "turn_cancelled"),
        ({"error": {"message": "no such table"}}, "ai_failed"),
    ],
)
async def test_a_flow_that_answers_is_found_in_n8n(
    database_url: str, evolution, llm, n8n: AnsweringN8n, lines: Lines, answer, action: str
):
    n8n.says(JSONResponse(answer, headers=HEADER))
    rules = {"TURN_MAX_ATTEMPTS": "1", **EDITOR}
    async with playing(database_url, evolution, llm, n8n, **rules) as stage:
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.turns_end()
        shown = await get(stage, f"/api/turns/{turn['id']}")
        story = await get(stage, f"/api/turns/{turn['id']}/story")
    assert (shown["execution_id"], shown["execution_url"]) == ("4711", LINK)
    (handled,) = [each for each in story["happenings"] if each["kind"] == "handled"]
    assert handled["says"] == f"it was given to n8n, execution 4711: {LINK}"
    (line,) = lines.of(action)
    assert (line["execution_id"], line["execution_url"]) == ("4711", LINK)
    assert line["turn_id"] == turn["id"]


async def test_a_flow_that_sends_by_itself_says_which_it_is(
    database_url: str, evolution, llm, sending, lines: Lines
):
    async with sending_play(database_url, evolution, llm, sending, **EDITOR) as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, sending)
        named = await flow.reports("began", execution_id="12", workflow_id="abc")
        assert named.status_code == 200
        wrong = await flow.reports("began", execution_id="12", workflow_id="../x")
        assert wrong.status_code == 422
        (turn,) = await stage.sql("select * from turns")
        await flow.reports("done")
        await stage.turns_end()
    assert turn["execution_url"] == "https://n8n.example/workflow/abc/executions/12"
    (line,) = lines.of("flow_began")
    assert line["turn_id"] == turn["id"]


async def test_where_nothing_is_set_the_editor_is_above_the_webhooks(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    n8n.says(JSONResponse({"text": "Temos!"}, headers=HEADER))
    async with playing(database_url, evolution, llm, n8n) as stage:
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.turns_end()
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/workflow/hybridflowInbound/executions/4711",
        turn["execution_url"],
    )


async def test_where_a_flow_crashed_that_never_answered_stands_in_the_log(
    database_url: str, evolution, llm, n8n: AnsweringN8n, lines: Lines
):
    """To the router n8n says "Error in workflow" alone; its error workflow knows the node."""
    crash = {"error": "what Maria wrote", "node": "Edit Fields", "workflow_id": "mine"}
    async with (
        playing(database_url, evolution, llm, n8n, **EDITOR) as stage,
        patient(base_url=stage.router_url) as client,
    ):
        told = await client.post(
            "/n8n/executions/143/fail", headers={"X-N8N-API-Key": KEY}, json=crash
        )
    assert told.status_code == 404
    (line,) = lines.of("ai_failed")
    assert line["message"] == "execution 143 crashed in the node Edit Fields; it named no turn"
    assert line["execution_url"] == "https://n8n.example/workflow/mine/executions/143"


async def test_the_crash_of_a_flow_that_was_heard_ends_no_other_attempt(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    """A flow that ends red after its answer has its error workflow report that, too."""
    n8n.says(JSONResponse({"error": {"message": "no"}}, headers=HEADER), {"text": "Temos!"})
    rules = {"RETRY_BASE_SECONDS": "0.1", **EDITOR}
    async with playing(database_url, evolution, llm, n8n, **rules) as stage:
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.turns_end()
        async with patient(base_url=stage.router_url) as client:
            told = await client.post(
                "/n8n/executions/4711/fail",
                headers={"X-N8N-API-Key": n8n.received[0].headers["x-n8n-api-key"]},
                json={"error": "no", "node": "Failed", "workflow_id": "hybridflowInbound"},
            )
        assert told.status_code in (404, 409)
        assert (turn["state"], turn["attempt"]) == ("sent", 2)
