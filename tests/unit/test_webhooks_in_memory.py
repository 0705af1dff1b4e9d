"""Webhooks that were read count as memory until they are recorded."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from router.configuration.settings import load_settings
from router.errors import DatabaseAway
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers
from router.http.services import provide
from router.intake.routes import router
from tests.fixtures import webhook
from tests.services import intake_services

SECRET = "webhook-secret-0000000000004"


class Database:
    """Records what it is given, once it may: `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.is_away = False
        self.recorded: list[str] = []

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        if function == "webhook_guards":
            return {"now": "2026-11-26", "next": None, "guards": []}
        await self.go.wait()
        if self.is_away:
            raise DatabaseAway("away")
        self.recorded += [event["instance"] for event in argument["events"]]
        decision = {"outcome": "recorded", "decision": "turn", "session_id": 1}
        return {"decisions": [decision for _ in argument["events"]]}


class Post:
    """Takes webhooks, with so much memory for them."""

    def __init__(self, held: int) -> None:
        self.database = Database()
        self.bodies = Bodies(BodyLimits(held_bytes=held), Callers(()))
        self._app = FastAPI()
        self._app.router.routes.extend(router.routes)
        settings = load_settings(
            {"EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET, "ANTHROPIC_API_KEY": "x"}, env_file=None
        )
        provide(self._app, intake_services(settings, self.database, self.bodies))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app),
            base_url="http://router",
            headers={"X-Webhook-Secret": SECRET},
        )

    def sends(self, instance: str, **changes: Any) -> "asyncio.Task[httpx.Response]":
        body = webhook("messages_upsert__text") | {"instance": instance} | changes
        return asyncio.create_task(self.http.post(f"/webhook/{instance}", json=body))


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.fixture
async def weight() -> int:
    """What one webhook counts as while it is not recorded."""
    post = Post(held=50_000_000)
    sent = post.sends("a")
    await settled()
    weight = post.bodies._held.total()
    post.database.go.set()
    assert (await sent).status_code == 200
    return weight


async def test_what_waits_to_be_recorded_is_bounded_and_what_is_beyond_is_to_be_sent_again(
    weight: int,
):
    post = Post(held=6 * weight)
    held = [post.sends(instance) for instance in "aabbc"]
    await settled()
    assert not any(each.done() for each in held)
    assert 4.9 * weight < post.bodies._held.total() < 5.1 * weight
    held.append(post.sends("c"))
    await settled()
    for instance in "abcd":
        answer = await post.sends(instance)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["error"]["code"] == "busy"
    post.database.go.set()
    assert {(await each).status_code for each in held} == {200}
    assert len(post.database.recorded) == 6
    assert not post.bodies._held
    assert (await post.sends("d")).status_code == 200


async def test_one_instance_has_half_of_it(weight: int):
    post = Post(held=6 * weight)
    held = [post.sends("a") for _ in range(3)]
    await settled()
    answer = await post.sends("a")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    held.append(post.sends("b"))
    await settled()
    post.database.go.set()
    assert {(await each).status_code for each in held} == {200}


@pytest.mark.parametrize("changes", [{}, {"event": "nothing.known"}, {"data": []}, {"event": 7}])
async def test_nothing_stays_counted_whatever_becomes_of_it(changes: dict[str, Any]):
    for is_away in (False, True):
        post = Post(held=50_000_000)
        post.database.go.set()
        post.database.is_away = is_away
        await post.sends("a", **changes)
        assert not post.bodies._held
