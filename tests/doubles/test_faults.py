"""Faults on demand: what a client of the loopback Evolution meets, what is on the phone then."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from loopback.evolution import Business, Customer, Evolution, failures
from loopback.faults import Fault
from tests.clients import patient


@pytest.fixture
def shop() -> Iterator[Business]:
    with Evolution() as evolution:
        yield evolution.instance("shop")


@pytest.fixture
def maria(shop: Business) -> Customer:
    return shop.customer()


@pytest.fixture
async def api(shop: Business) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": shop.token}
    async with patient(base_url=shop.program.url, headers=headers) as api:
        yield api


async def send(api: httpx.AsyncClient, text: str = "olá", patience: float = 20) -> httpx.Response:
    body = {"number": "5511988880001", "text": text}
    timeout = httpx.Timeout(20, read=patience)
    return await api.post("/message/sendText/shop", json=body, timeout=timeout)


CUT = (httpx.RemoteProtocolError, httpx.ReadError)


async def test_a_call_that_is_never_answered_takes_nothing(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    shop.fail("sendText", failures.NEVER_ANSWERED)
    with pytest.raises(httpx.ReadTimeout):
        await send(api, patience=0.2)
    await shop.called("sendText")
    assert (await send(api, "de novo")).status_code == 201
    assert maria.replies == ["de novo"]


async def test_a_message_may_be_on_the_phone_although_no_answer_came(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    shop.fail("sendText", failures.TAKEN_NEVER_ANSWERED)
    with pytest.raises(httpx.ReadTimeout):
        await send(api, patience=0.2)
    assert await maria.answered() == ["olá"]
    assert shop.calls("sendText")[0].status is None


@pytest.mark.parametrize(
    ("fault", "on_the_phone"), [(failures.CUT, []), (failures.TAKEN_THEN_CUT, ["olá"])]
)
async def test_a_connection_is_cut_before_or_after_the_message_is_taken(
    api: httpx.AsyncClient,
    shop: Business,
    maria: Customer,
    fault: Fault,
    on_the_phone: list[str],
) -> None:
    shop.fail("sendText", fault)
    with pytest.raises(CUT):
        await send(api)
    assert maria.replies == on_the_phone
    assert len(shop.calls("sendText")) == 1
    assert (await send(api, "de novo")).status_code == 201


@pytest.mark.parametrize(
    ("fault", "status", "on_the_phone"),
    [
        (failures.CONNECTION_CLOSED, 400, []),
        (failures.BAD_KEY, 401, []),
        (failures.NO_INSTANCE, 404, []),
        (failures.too_many(3), 429, []),
        (failures.BROKEN, 500, []),
        (failures.TAKEN_THEN_BROKEN, 500, ["olá"]),
        (failures.UNAVAILABLE, 503, []),
        (failures.graph_error(), 201, []),
        (failures.not_on_whatsapp("5511988880001"), 400, []),
        (failures.TAKEN_THEN_UNREADABLE, 201, ["olá"]),
        (failures.TIMED_OUT, 400, []),
        (failures.TAKEN_THEN_TIMED_OUT, 400, ["olá"]),
        (failures.META_AWAY, 400, []),
        (failures.TAKEN_THEN_META_AWAY, 400, ["olá"]),
        (failures.TAKEN_THEN_NOT_STORED, 400, ["olá"]),
        (failures.MEDIA_NOT_FOUND, 404, []),
        (failures.UPLOAD_REFUSED, 500, []),
    ],
)
async def test_wrong_answers(
    api: httpx.AsyncClient,
    shop: Business,
    maria: Customer,
    fault: Fault,
    status: int,
    on_the_phone: list[str],
) -> None:
    shop.fail("sendText", fault)
    answer = await send(api)
    assert (answer.status_code, maria.replies) == (status, on_the_phone)
    assert shop.calls("sendText")[0].status == status


async def test_a_429_says_when_to_come_back(api: httpx.AsyncClient, shop: Business) -> None:
    shop.fail("sendText", failures.too_many(0.5))
    assert (await send(api)).headers["retry-after"] == "0.5"


async def test_a_graph_error_has_no_key(api: httpx.AsyncClient, shop: Business) -> None:
    shop.fail("sendText", failures.graph_error())
    answer = (await send(api)).json()
    assert (answer["code"], "key" in answer) == (131047, False)


async def test_the_answer_may_name_another_jid(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    shop.fail("sendText", failures.answered_as("551188880001@s.whatsapp.net"))
    assert (await send(api)).json()["key"]["remoteJid"] == "551188880001@s.whatsapp.net"
    assert maria.replies == ["olá"]


async def test_a_late_answer_is_the_right_one(api: httpx.AsyncClient, shop: Business) -> None:
    shop.fail("sendText", failures.late(0.01))
    assert (await send(api)).status_code == 201


async def test_faults_are_met_in_order_and_as_often_as_said(
    api: httpx.AsyncClient, shop: Business
) -> None:
    shop.fail("sendText", failures.BROKEN, times=2)
    shop.fail("sendText", failures.UNAVAILABLE)
    assert [(await send(api)).status_code for _ in range(4)] == [500, 500, 503, 201]


async def test_a_fault_stays_until_it_is_healed(api: httpx.AsyncClient, shop: Business) -> None:
    shop.fail("sendText", failures.UNAVAILABLE, times=None)
    assert [(await send(api)).status_code for _ in range(3)] == [503] * 3
    shop.heal("sendText")
    assert (await send(api)).status_code == 201


async def test_other_endpoints_and_instances_are_spared(
    api: httpx.AsyncClient, shop: Business
) -> None:
    shop.fail("findMessages", failures.BROKEN, times=None)
    assert (await send(api)).status_code == 201
    assert (await api.post("/chat/findMessages/shop", json={})).status_code == 500


async def test_a_send_is_held_before_it_takes_effect(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    gate = shop.hold("sendText")
    sending = asyncio.create_task(send(api))
    await gate.reached()
    shop.owner.writes(maria, "deixa comigo")
    assert [message.author for message in maria.transcript] == ["owner"]
    gate.open()
    assert (await sending).status_code == 201
    assert [message.author for message in maria.transcript] == ["owner", "api"]


async def test_a_send_is_held_after_it_took_effect_and_then_its_answer_is_lost(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    gate = shop.hold("sendText", after=True)
    shop.fail("sendText", failures.TAKEN_THEN_CUT)
    sending = asyncio.create_task(send(api))
    await gate.reached()
    assert maria.replies == ["olá"]
    gate.open()
    with pytest.raises(CUT):
        await sending


async def test_a_held_send_takes_effect_although_the_client_has_given_up(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    gate = shop.hold("sendText")
    with pytest.raises(httpx.ReadTimeout):
        await send(api, patience=0.2)
    await gate.reached()
    assert maria.replies == []
    shop.heal()
    assert await maria.answered() == ["olá"]


async def test_what_was_taken_is_told_of_although_the_answer_was_lost(
    api: httpx.AsyncClient, shop: Business
) -> None:
    shop.fail("sendText", failures.TAKEN_THEN_CUT)
    shop.sends_webhooks_to("http://127.0.0.1:9/nobody")
    with pytest.raises(CUT):
        await send(api)
    told = shop.webhooks
    await shop.program.changes.until(lambda: told.of("send.message"), "send.message")


async def test_evolution_goes_away_and_comes_back_on_its_port(
    api: httpx.AsyncClient, shop: Business, maria: Customer
) -> None:
    evolution = shop.program
    assert isinstance(evolution, Evolution)
    gate = shop.hold("sendText")
    sending = asyncio.create_task(send(api))
    await gate.reached()
    evolution.stop()
    with pytest.raises(CUT):
        await sending
    with pytest.raises(httpx.ConnectError):
        await send(api)
    shop.heal()
    evolution.start()
    assert (await send(api)).status_code == 201
    assert maria.replies == ["olá"]
