"""Tenants' addresses are judged when they are connected to, and never lead back inside."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.receiver import WebhookReceiver
from loopback.server import LoopbackServer
from loopback.waiting import DEADLINE
from router.configuration.addresses import Allowed
from router.outbound.checked import CheckedTransport
from router.outbound.refused import AddressRefused
from tests.scenarios.office import Office, open_office
from tests.scenarios.stage import performance

HERE = "127.0.0.1"
ELSEWHERE = "127.0.0.2"  # reachable, too, but not allowed


class Names:
    """A name service that answers differently each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


class Redirecting(LoopbackServer):
    """Sends every request on to another address."""

    def __init__(self, target: str) -> None:
        async def answer(request: Request) -> RedirectResponse:
            return RedirectResponse(target)

        super().__init__(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]))


@asynccontextmanager
async def client(*allowed: str, names: Names | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = CheckedTransport(Allowed.of(allowed), names.resolve if names else None)
    async with httpx.AsyncClient(transport=transport, timeout=DEADLINE) as http:
        yield http


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    "host", [HERE, "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "0"]
)
async def test_loopback_is_refused_however_it_is_spelt(receiver: WebhookReceiver, host: str):
    async with client() as http:
        with pytest.raises(httpx.ConnectError):
            await http.post(f"http://{host}:{receiver.port}/", json={})
    assert receiver.received == []


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "localhost"])
async def test_what_the_deployment_allows_is_reached(receiver: WebhookReceiver, allowed: str):
    async with client(allowed, "::1") as http:
        answer = await http.post(f"http://localhost:{receiver.port}/", json={})
    assert answer.status_code == 200


async def test_a_name_is_asked_for_once_and_cannot_change_its_mind(receiver: WebhookReceiver):
    names = Names([HERE], [ELSEWHERE])
    async with client(HERE, names=names) as http:
        await http.post(f"http://evolution.example:{receiver.port}/", json={})
    assert names.asked == [("evolution.example", receiver.port)]
    (got,) = receiver.received
    assert got.headers["host"] == f"evolution.example:{receiver.port}"


async def test_a_name_that_changed_its_mind_is_refused_at_the_next_connection(
    receiver: WebhookReceiver,
):
    names = Names([HERE], [ELSEWHERE])
    url = f"http://evolution.example:{receiver.port}/"
    async with client(HERE, names=names) as http:
        await http.post(url, json={}, headers={"Connection": "close"})
        with pytest.raises(AddressRefused, match="ALLOWED_NETWORKS") as refused:
            await http.post(url, json={})
    assert ELSEWHERE not in str(refused.value)  # what a name leads to inside is not told outside
    assert len(receiver.received) == 1


async def test_of_several_addresses_only_those_that_may_be_are_connected_to(
    receiver: WebhookReceiver,
):
    async with client(HERE, names=Names([ELSEWHERE, "169.254.169.254", HERE])) as http:
        answer = await http.post(f"http://evolution.example:{receiver.port}/", json={})
    assert answer.status_code == 200


async def test_the_next_address_is_tried_where_one_does_not_answer(receiver: WebhookReceiver):
    names = Names([ELSEWHERE, HERE])
    async with client("127.0.0.0/8", names=names) as http:
        answer = await http.post(f"http://evolution.example:{receiver.port}/", json={})
    assert answer.status_code == 200


async def test_a_name_that_leads_nowhere_is_an_ordinary_failure():
    async with client() as http:
        with pytest.raises(httpx.ConnectError) as failed:
            await http.get("http://no-such-host.invalid/")
    assert not isinstance(failed.value, AddressRefused)


async def test_a_redirect_is_not_followed(receiver: WebhookReceiver):
    with Redirecting(f"{receiver.url}/inside") as outside:
        async with client("127.0.0.0/8") as http:
            answer = await http.post(f"{outside.url}/hook", json={})
    assert answer.status_code == 307
    assert receiver.received == []


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    """Of a deployment that allows nothing of its own."""
    async with open_office(database_url, ALLOWED_NETWORKS="none") as office:
        yield office


@pytest.mark.parametrize(
    "values",
    [
        {"evo_server_url": "http://127.0.0.1:5432"},
        {"evo_server_url": "http://localhost:5678/rest"},
        {"notify_url": "http://169.254.169.254/latest/meta-data/iam"},
        {"notify_url": "https://[fd00:ec2::254]/"},
        {"notify_url": "https://ana:secret@hooks.example/"},
    ],
)
async def test_an_address_that_plainly_leads_inside_is_refused_when_it_is_set(office, values):
    (name,) = values
    changed = await office.patch("/api/tenants/1", 422, json=values)
    created = await office.post(
        "/api/tenants",
        422,
        json={"instance_name": "padaria", "evo_server_url": "https://evo.example"} | values,
    )
    for refused in (changed, created):
        assert refused["error"]["message"].startswith(name)
        assert "secret" not in refused["error"]["message"]


async def test_the_instance_test_says_that_the_address_is_refused_and_not_what_is_there(
    office, evolution: Evolution
):
    shop = evolution.instance("shop")
    await office.talk.sql(
        "update tenants set evo_server_url = $1, evo_api_key = $2", evolution.url, shop.token
    )
    check = await office.get("/api/instances/shop/test-webhook")
    assert check["failed"] == "evolution"
    (step,) = [step for step in check["steps"] if step["step"] == "evolution"]
    assert "does not lead to a public address" in step["detail"]
    assert "ALLOWED_NETWORKS" in step["cure"]


async def test_a_reply_to_an_address_that_is_not_allowed_never_leaves_and_says_why(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with performance(database_url, evolution, llm, ALLOWED_NETWORKS="none") as stage:
        await stage.maria.writes("Oi!")
        (turn,) = await stage.until(
            "select state, error from turns", lambda rows: bool(rows) and rows[0]["state"] == "dead"
        )
        assert "does not lead to a public address" in turn["error"]
        assert stage.maria.replies == []


async def test_a_notice_is_not_posted_to_an_address_inside(
    database_url: str, evolution: Evolution, llm: Anthropic, receiver: WebhookReceiver
):
    async with performance(database_url, evolution, llm, ALLOWED_NETWORKS="none") as stage:
        await stage.sql("update tenants set notify_url = $1", f"{receiver.url}/hook")
        await stage.sql(
            "insert into notices (tenant_id, kind, facts, next_at)"
            " values (1, 'connection_lost', '{\"state\": \"close\"}', now())"
        )
        (notice,) = await stage.until(
            "select error from notices", lambda rows: bool(rows) and rows[0]["error"] is not None
        )
    assert "does not lead to a public address" in notice["error"]
    assert receiver.received == []
