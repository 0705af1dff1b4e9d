"""A stage whose turns go to a flow in n8n, of which the test is both n8n and the flow."""

from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from loopback.receiver import WebhookReceiver
from tests.clients import patient
from tests.scenarios.stage import Stage, performance

KEY = "a-key-for-n8n-in-the-tests"


@pytest.fixture
def n8n():
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
async def stage(database_url: str, evolution, llm, n8n):
    async with playing(database_url, evolution, llm, n8n) as stage:
        yield stage


@asynccontextmanager
async def playing(database_url, evolution, llm, n8n, **more: str):
    configuration = {
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": KEY,
        "N8N_CONTRACT": "gateway",
        "N8N_LEASE_SECONDS": "20",
        **more,
    }
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


class Flow:
    """What a workflow does with the turn that it was given."""

    def __init__(self, stage: Stage, payload: dict[str, Any]) -> None:
        self.payload = payload
        self.token = payload["token"]
        self._router = stage.router_url

    async def post(self, path: str, body: Any = None, token: str | None = None) -> httpx.Response:
        async with patient() as client:
            return await client.post(
                f"{self._router}{path}", json=body or {}, headers={"apikey": token or self.token}
            )

    async def calls(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Call Evolution's `path` through the gateway, to the turn's own contact."""
        number = {"number": self.payload["session"]["number"]}
        return await self.post(f"/n8n/evolution/{path}/padaria", number | body)

    async def sends(self, text: str, **more: Any) -> httpx.Response:
        return await self.calls("message/sendText", {"text": text, **more})

    async def reports(self, what: str, **body: Any) -> httpx.Response:
        return await self.post(f"/n8n/turns/{self.payload['turn_id']}/{what}", body)


async def given(stage: Stage, n8n: WebhookReceiver, number: int = 1) -> Flow:
    """Return the flow of the turn that n8n is given as the `number`th; notices are none."""
    count = number
    while True:
        await n8n.gets(count)
        turns = [got.body for got in n8n.received if "turn_id" in got.body]
        if len(turns) >= number:
            return Flow(stage, turns[number - 1])
        count = len(n8n.received) + 1
