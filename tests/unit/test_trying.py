"""What the demo's page does, over the programs that play it; of the state, answers are told."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from loopback.receiver import WebhookReceiver
from router.app import create_app
from router.configuration.demo import Demo
from router.configuration.settings import load_settings
from router.console import trying
from router.feed.feed import Feed
from router.feed.forgetting import Forgetting
from router.feed.opening import Streams
from router.feed.rights import Rights
from router.http.services import provide
from router.sharing.at_once import AtOnce
from router.sharing.shares import Shares
from tests.clients import patient
from tests.services import console_services

OWN = {"Sec-Fetch-Site": "same-origin"}
CHANGING = ("/try/customer?text=Oi", "/try/owner?text=Oi", "/try/resume", "/try/kill",
            "/try/break/twice", "/try/pass-time")  # fmt: skip
LOOKING = ("/try/state", "/try/stream")
NOW = "2026-11-26T12:00:00+00:00"
SESSION = {
    "id": 5, "tenant_id": 7, "chat": "contact", "phone_jid": None, "lid": None, "identities": [],
    "contact_name": "Marina", "is_paused": True, "pause_source": "owner", "pause_reason": None,
    "paused_at": NOW, "paused_until": None, "pause_indefinite": False, "pause_ends_at": NOW,
    "resumed_at": None, "resume_source": None, "last_human_at": NOW, "last_message_at": NOW,
    "last_contact_at": NOW, "labels": [], "owner": None, "created_at": NOW, "updated_at": NOW,
}  # fmt: skip


class State:
    """Answers as the SQL functions do, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    async def call(self, function: str, argument: Any) -> dict[str, Any]:
        self.asked.append((function, argument))
        if function == "list_sessions":
            return {"items": [SESSION], "next_cursor": None}
        if function == "pass_demo_time":
            return {"session_ids": [5]}
        if function == "auto_resume":
            return {"resumed": 1, "sessions": [], "turns": 0, "failed": [], "more": False}
        if function == "tell_turn":
            came = {"at": NOW, "kind": "message"}
            judged = {"at": NOW, "kind": "judged", "decision": "paused"}
            return {
                "now": NOW, "is_known": True, "was_erased": False, "turn": None, "message": {},
                "session": None, "tenant": {}, "happenings": [came, judged],
            }  # fmt: skip
        return {"session": {**SESSION, "is_paused": False}, "resumed": True, "turn_id": None}


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


@pytest.fixture
def llm() -> Iterator[Anthropic]:
    with Anthropic() as llm:
        yield llm


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    return evolution.instance("demo-shop")


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def app(
    evolution: Evolution, shop: Business, llm: Anthropic, state: State
) -> AsyncIterator[FastAPI]:
    del shop
    app = create_app(load_settings({"ANTHROPIC_API_KEY": "x"}, env_file=None))
    demo = Demo(7, "demo-shop", evolution.url, llm.url)
    async with patient() as http:
        feed = Feed(state, name="me")
        streams = Streams(feed, Rights(feed, state), Forgetting(state), Shares(1), AtOnce(1))
        provide(app, console_services(demo, state, http), streams)
        yield app


@pytest.fixture
async def page(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    base = "http://localhost:8000"
    async with httpx.AsyncClient(transport=transport, base_url=base, headers=OWN) as page:
        yield page


def texts(shop: Business) -> list[tuple[str, str]]:
    customer = shop.customer("5511955550182")
    return [(message.author, message.text) for message in customer.transcript]


async def test_both_phones_write_and_the_page_shows_it(page: httpx.AsyncClient, shop: Business):
    assert (await page.post("/try/customer", params={"text": "Oi <b>"})).status_code == 204
    assert (await page.post("/try/owner", params={"text": "Oi, Ana aqui"})).status_code == 204
    assert texts(shop) == [("customer", "Oi <b>"), ("owner", "Oi, Ana aqui")]
    shown = (await page.get("/try/state")).json()
    assert [each["text"] for each in shown["transcript"]] == ["Oi <b>", "Oi, Ana aqui"]
    assert [step["mark"] for step in shown["steps"]] == ["done", "shut"]
    assert (shown["is_paused"], shown["llm_is_played"]) == (True, True)


async def test_nothing_is_told_before_anything_was_written(page: httpx.AsyncClient, state: State):
    shown = (await page.get("/try/state")).json()
    assert (shown["transcript"], shown["steps"], shown["turn"]) == ([], [], None)
    assert "tell_turn" not in dict(state.asked)


async def test_what_comes_twice_is_told_twice_and_stands_on_the_phone_once(
    page: httpx.AsyncClient, shop: Business
):
    assert (await page.post("/try/break/twice")).status_code == 409
    with WebhookReceiver() as receiver:
        shop.sends_webhooks_to(receiver.url, events=("MESSAGES_UPSERT",))
        await page.post("/try/customer", params={"text": "Oi"})
        assert (await page.post("/try/break/twice")).status_code == 204
    told = [each for each in receiver.received if each.event == "messages.upsert"]
    assert len({each.data["key"]["id"] for each in told}) == 1
    assert len(told) == 2
    assert texts(shop) == [("customer", "Oi")]


async def test_an_answer_is_lost_and_the_llm_is_taken_away(
    page: httpx.AsyncClient, evolution: Evolution, llm: Anthropic
):
    for fault in ("lose_answer", "llm_away"):
        assert (await page.post(f"/try/break/{fault}")).status_code == 204
    async with patient() as http:
        with pytest.raises(httpx.TransportError):
            await http.post(
                f"{evolution.url}/message/sendText/demo-shop",
                headers={"apikey": evolution.key},
                json={"number": "5511955550182", "text": "Oi"},
            )
        asked = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Oi"}]}
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        answer = await http.post(f"{llm.url}/v1/messages", headers=headers, json=asked)
    assert answer.status_code == 529


async def test_a_real_model_is_not_taken_away(app: FastAPI, page: httpx.AsyncClient):
    provide(app, console_services(Demo(7, "demo-shop", "http://127.0.0.1:1", None)))
    answer = await page.post("/try/break/llm_away")
    assert (answer.status_code, "real model" in answer.text) == (409, True)


async def test_the_conversation_is_returned_to_the_ai(page: httpx.AsyncClient, state: State):
    assert (await page.post("/try/resume")).status_code == 204
    name, asked = state.asked[-1]
    assert (name, asked["session_id"], asked["tenant_id"]) == ("resume_session", 5, 7)


async def test_the_pause_runs_out_and_is_ended_as_the_cron_job_does(
    page: httpx.AsyncClient, state: State
):
    assert (await page.post("/try/pass-time")).status_code == 204
    (passed, of), (ended, which) = state.asked
    assert (passed, of["tenant_id"]) == ("pass_demo_time", 7)
    assert (ended, list(which["session_ids"])) == ("auto_resume", [5])


async def test_the_router_is_killed_once_it_has_said_so(
    page: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    killed: list[object] = []
    monkeypatch.setattr(trying, "_DYING", 0.0)
    monkeypatch.setattr(trying, "_kill_self", lambda: killed.append("it"))
    assert (await page.post("/try/kill")).status_code == 204
    while not killed:
        await page.get("/try/state")
    assert killed == ["it"]


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "http://localhost:3000"}],
)  # fmt: skip
async def test_no_other_page_moves_it(
    app: FastAPI, path: str, headers: dict[str, str], shop: Business, state: State
):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as page:
        assert (await page.post(path, headers=headers)).status_code == 403
    assert texts(shop) == []
    assert state.asked == []


@pytest.mark.parametrize("path", LOOKING)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_no_other_page_looks_at_it(app: FastAPI, path: str, site: str, state: State):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as page:
        assert (await page.get(path, headers={"Sec-Fetch-Site": site})).status_code == 403
        assert (await page.get("/try/state")).status_code == 200  # who is no page, as curl
    assert [name for name, _ in state.asked] == ["list_sessions"]


@pytest.mark.parametrize("path", [*CHANGING, *LOOKING])
async def test_nobody_else_sees_or_moves_it(app: FastAPI, path: str, shop: Business):
    transport = httpx.ASGITransport(app, client=("192.168.1.7", 1))
    method = "GET" if path in LOOKING else "POST"
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as page:
        assert (await page.request(method, path, headers=OWN)).status_code == 404
    assert texts(shop) == []


@pytest.mark.parametrize("path", [*CHANGING, *LOOKING])
async def test_where_no_demo_is_played_there_is_nothing_to_move(
    app: FastAPI, page: httpx.AsyncClient, path: str
):
    provide(app, console_services(None))
    method = "GET" if path in LOOKING else "POST"
    assert (await page.request(method, path)).status_code == 404
