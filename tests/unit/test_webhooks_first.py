"""What is a webhook is answered first; all other calls go their way."""

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from router.errors import DatabaseAway, DatabaseTooSlow
from router.intake.routes import router
from router.intake.shortcut import WebhooksFirst


async def _others(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("all others")(scope, receive, send)


async def _call(method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=WebhooksFirst(_others, is_https=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
        return await client.request(method, path)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the routes' handler; return the paths that it answered."""
    answered: list[str] = []

    async def answer(_: object, scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])
        await PlainTextResponse("a webhook")(scope, receive, send)

    for route in router.routes:
        monkeypatch.setattr(type(route), "handle", answer)
    return answered


@pytest.mark.parametrize(
    "path", ["/webhook/shop", "/webhook/shop/", "/webhook/shop/messages-upsert", "/webhook/a//b"]
)
async def test_every_path_of_a_webhook_is_answered_first(answers: list[str], path: str):
    assert (await _call("POST", path)).text == "a webhook"
    assert answers == [path]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/webhook/shop"),
        ("OPTIONS", "/webhook/shop"),
        ("POST", "/webhook/"),
        ("POST", "/webhook/a/b/c"),
        ("POST", "/webhooks"),
        ("POST", "/api/tenants"),
    ],
)
async def test_what_is_not_quite_a_webhook_goes_the_way_of_all_calls(
    answers: list[str], method: str, path: str
):
    assert (await _call(method, path)).text == "all others"
    assert answers == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(DatabaseAway("away"), "database_away"), (DatabaseTooSlow("slow"), "database_away")],
)
async def test_what_the_state_refuses_is_answered_in_the_one_shape(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
):
    async def refuse(*_: object) -> None:
        raise error

    for route in router.routes:
        monkeypatch.setattr(type(route), "handle", refuse)
    answer = await _call("POST", "/webhook/shop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, code)
    assert answer.headers["retry-after"] == "5"
