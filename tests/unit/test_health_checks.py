"""What the health check costs, however many ask: anybody may."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from router.configuration.settings import load_settings
from router.errors import DatabaseAway
from router.http.health import HealthChecks, LookedAt, router
from router.http.services import provide
from router.llm.standing import Known
from router.sharing.at_once import Shared
from router.state.schema_version import SCHEMA_VERSION


class Everything:
    """The state of an application, as far as it is looked at. `go` lets the database answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_away = False
        self.known: Known | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def call(self, function: str, _: object) -> dict[str, Any]:
        self.asked.append(function)
        await self.go.wait()
        if self.is_away:
            raise DatabaseAway("away")
        return {"schema_version": SCHEMA_VERSION, "tenants": 0}

    async def told_to_anybody(self) -> str:
        self.asked.append("lost servers")
        return ""

    def exhausted(self) -> list[str]:
        return []

    replaced = exhausted

    def of_deployment(self) -> dict[str, Known | None]:
        return {"anthropic": self.known}


@pytest.fixture
def everything() -> Everything:
    return Everything()


@pytest.fixture
def http(everything: Everything) -> httpx.AsyncClient:
    app = FastAPI()
    app.router.routes.extend(router.routes)
    settings = load_settings({"ANTHROPIC_API_KEY": "x"}, env_file=None)
    others: Any = everything
    looked_at = LookedAt(settings, everything, others, others, others, n8n=None)
    provide(app, HealthChecks(looked_at))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_who_asks_while_it_is_looked_shares_the_answer(
    everything: Everything, http: httpx.AsyncClient
):
    everything.go.clear()
    asking = [asyncio.create_task(http.get("/health")) for _ in range(50)]
    await settled()
    asking.pop(0).cancel()  # who goes away stops it for nobody
    await settled()
    everything.go.set()
    assert {(await each).status_code for each in asking} == {200}
    assert everything.asked == [
        *("check_database", "count_undelivered", "count_outages"),
        "lost servers",
    ]


async def test_who_asks_afterwards_is_told_how_it_is_then(
    everything: Everything, http: httpx.AsyncClient
):
    for is_away, status in ((False, 200), (True, 503), (False, 200)):
        everything.is_away = is_away
        assert (await http.get("/health")).status_code == status


class Away:
    """An n8n that is away."""

    async def is_away(self) -> bool:
        return True

    def fails(self) -> None:
        return None


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ({"ANTHROPIC_API_KEY": "x"}, "n8n is away: the Python handlers answer"),
        ({"ANTHROPIC_API_KEY": "x", "N8N_FALLBACK": "queue"}, "turns wait for it (N8N_FALLBACK"),
        ({}, "turns wait for it (the Python handlers have no key for anthropic)"),
    ],
)
async def test_of_an_n8n_that_is_away_it_is_said_who_answers(
    everything: Everything, configured: dict[str, str], said: str
):
    app = FastAPI()
    app.router.routes.extend(router.routes)
    others: Any = everything
    settings = load_settings(configured, env_file=None)
    looked_at = LookedAt(settings, everything, others, others, others, n8n=Away())
    provide(app, HealthChecks(looked_at))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://router"
    ) as asking:
        told = (await asking.get("/health")).json()["checks"]["n8n"]
    assert said in told["message"]
    assert (told["status"] == "ok") == ("answer" in told["message"])


async def test_however_often_it_is_asked_it_is_looked_few_times_and_never_answered_of_before():
    looks = 0
    changed = False

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return changed

    shared = Shared(look, pause=3600)
    assert await shared.get() is False
    changed = True
    asking = [asyncio.create_task(shared.get()) for _ in range(50)]
    await settled()
    assert looks == 1
    assert not any(each.done() for each in asking)
    for each in asking:
        each.cancel()
    shared = Shared(look, pause=0.01)
    assert [await shared.get() for _ in range(3)] == [True] * 3
    assert looks == 4
