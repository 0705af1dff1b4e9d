"""A payload cannot have n8n show its key of an LLM elsewhere, whoever forged it."""

import copy
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.receiver import WebhookReceiver
from scripts.n8n.library import WORKFLOWS, read_workflows
from tests.clients import patient
from tests.n8n_server import N8N_API_KEY, TestN8n

pytestmark = pytest.mark.n8n


@pytest.fixture
def thief() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def forged(llm_url: str) -> Any:
    (inbound,) = (w for w in read_workflows(WORKFLOWS) if w["id"] == "hybridflowInbound")
    payload = copy.deepcopy(inbound["pinData"]["Turn"][0]["json"]["body"])
    payload["tenant"]["llm_url"] = llm_url
    return payload


async def post(n8n: TestN8n, path: str, payload: Any) -> httpx.Response:
    async with patient() as client:
        url = f"{n8n.server.home.url}/webhook/{path}"
        return await client.post(url, json=payload, headers={"X-N8N-API-Key": N8N_API_KEY})


async def test_the_standard_flow_asks_where_the_deployment_says(
    n8n: TestN8n, llm: Anthropic, thief: WebhookReceiver
):
    n8n.anthropic.leads_to(llm.url)
    llm.answers("Custa R$ 32.")
    answer = await post(n8n, "hybridflow-turn", forged(f"{thief.url}/v1/messages"))
    n8n.anthropic.leads_to(None)
    assert answer.json()["content"][0]["text"] == "Custa R$ 32."
    assert len(llm.requests) == 1
    assert thief.received == []


async def test_a_flow_that_asks_where_the_payload_says_is_refused_by_n8n(
    n8n: TestN8n, thief: WebhookReceiver
):
    """Its credential may be shown to the deployment's host alone (here 127.0.0.1)."""
    elsewhere = thief.url.replace("127.0.0.1", "localhost")
    answer = await post(n8n, "answer-leak/hybridflow-turn", forged(f"{elsewhere}/v1/messages"))
    assert answer.status_code == 500
    assert thief.received == []
