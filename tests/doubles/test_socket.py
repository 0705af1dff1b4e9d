"""Slow ways to WhatsApp: when a send takes effect, and what else goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from loopback.evolution import Business, Customer, Evolution
from loopback.evolution.chats import Json
from loopback.receiver import WebhookReceiver
from tests.clients import patient


@pytest.fixture
def shop(router: WebhookReceiver) -> Iterator[Business]:
    with Evolution() as evolution:
        shop = evolution.instance("shop")
        shop.sends_webhooks_to(router.url, events=("SEND_MESSAGE", "MESSAGES_UPSERT"))
        yield shop


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer()


@pytest.fixture
async def api(shop: Business) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": shop.token}
    async with patient(base_url=shop.program.url, headers=headers) as api:
        yield api


async def send(api: httpx.AsyncClient, text: str, patience: float = 20) -> httpx.Response:
    body = {"number": "5511988880001", "text": text}
    return await api.post("/message/sendText/shop", json=body, timeout=patience)


async def stored(api: httpx.AsyncClient) -> list[str]:
    answer = await api.post("/chat/findMessages/shop", json={})
    return [record["message"]["conversation"] for record in answer.json()["messages"]["records"]]


async def until_under_way(shop: Business, sends: int = 1) -> None:
    await shop.program.changes.until(lambda: shop.socket.waiting >= sends, "sends at the socket")


async def test_nothing_is_told_stored_or_on_the_phone_until_the_socket_is_through(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    gate = shop.hold_socket()
    slow = asyncio.create_task(send(api, "lenta"))
    await gate.reached()
    assert (await stored(api), maria.replies, router.received) == ([], [], [])
    gate.open()
    assert (await slow).status_code == 201
    assert (await stored(api), maria.replies) == (["lenta"], ["lenta"])
    assert (await router.gets(1))[0].event == "send.message"


async def test_it_goes_out_although_the_client_gave_up(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.slow_socket(0.6, times=1)
    with pytest.raises(httpx.ReadTimeout):
        await send(api, "lenta", patience=0.2)
    assert maria.replies == []
    assert await maria.answered() == ["lenta"]
    assert (await router.gets(1))[0].data["message"] == {"conversation": "lenta"}
    assert shop.calls("sendText")[0].body["text"] == "lenta"


async def test_other_sends_and_messages_go_on_meanwhile(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    def seconds(body: Json) -> float:
        return 0.4 if body["text"] == "lenta" else 0.0

    shop.slow_socket(seconds)
    slow = asyncio.create_task(send(api, "lenta"))
    await until_under_way(shop)
    assert (await send(api, "rápida")).status_code == 201
    await maria.writes("e aí?")
    assert (await slow).status_code == 201
    assert [message.text for message in maria.transcript] == ["rápida", "e aí?", "lenta"]


async def test_the_same_body_twice_is_two_messages(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    shop.slow_socket(0.01, times=2)
    answers = await asyncio.gather(send(api, "oi"), send(api, "oi"))
    assert len({answer.json()["key"]["id"] for answer in answers}) == 2
    assert maria.replies == ["oi", "oi"]


async def test_a_line_that_drops_meanwhile_loses_the_send(
    api: httpx.AsyncClient, router: WebhookReceiver, shop: Business, maria: Customer
) -> None:
    shop.slow_socket(600)
    slow = asyncio.create_task(send(api, "lenta"))
    await until_under_way(shop)
    shop.line.breaks()
    answer = await slow
    assert answer.status_code == 400
    assert answer.json()["response"]["message"] == ["Error: Connection Closed"]
    shop.heal()
    shop.line.connects()
    assert (await send(api, "outra")).status_code == 201
    assert (maria.replies, await stored(api)) == (["outra"], ["outra"])


async def test_evolution_that_stops_meanwhile_loses_the_send(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    shop.slow_socket(600)
    slow = asyncio.create_task(send(api, "lenta"))
    await until_under_way(shop)
    assert isinstance(shop.program, Evolution)
    shop.program.stop()
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await slow
    shop.heal()
    shop.program.start()
    assert (await send(api, "outra")).status_code == 201
    assert maria.replies == ["outra"]


async def test_healing_makes_it_quick_again_and_lets_go_what_is_held(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    gate = shop.hold_socket()
    held = asyncio.create_task(send(api, "um"))
    await gate.reached()
    shop.slow_socket(600)
    shop.heal()
    assert (await held).status_code == 201
    assert (await send(api, "dois")).status_code == 201
    assert maria.replies == ["um", "dois"]
