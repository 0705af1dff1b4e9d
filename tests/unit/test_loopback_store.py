"""POST /chat/findMessages of the loopback Evolution, with the real one's ways."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Evolution

NOON = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(clock: Clock) -> Iterator[Business]:
    with Evolution(clock=clock) as evolution:
        yield evolution.instance("shop")


@pytest.fixture
async def api(shop: Business) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": shop.token}
    async with httpx.AsyncClient(base_url=shop.program.url, headers=headers) as api:
        yield api


async def find(api: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await api.post("/chat/findMessages/shop", json=query)
    assert answer.status_code == 200
    messages: dict[str, Any] = answer.json()["messages"]
    return messages


def texts(messages: dict[str, Any]) -> list[str]:
    return [record["message"]["conversation"] for record in messages["records"]]


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat().replace("+00:00", "Z")


async def test_a_record_has_the_fields_of_the_real_one(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    written = maria.writes("oi")
    [record] = (await find(api))["records"]
    assert list(record) == [
        "id", "key", "pushName", "messageType", "message",
        "messageTimestamp", "instanceId", "source", "contextInfo", "MessageUpdate",
    ]  # fmt: skip
    assert record["key"] == {"remoteJid": maria.jid, "fromMe": False, "id": written.wa_id}
    assert (record["messageTimestamp"], record["MessageUpdate"]) == (int(NOON), [])


async def test_the_newest_come_first_in_pages_whose_size_is_offset(
    api: httpx.AsyncClient, shop: Business, clock: Clock
) -> None:
    maria = shop.customer()
    for number in range(5):
        clock.now = NOON + number // 2  # some within one second
        maria.writes(str(number))
    first, last = await find(api, offset=2), await find(api, offset=2, page=3)
    assert (first["total"], first["pages"], first["currentPage"]) == (5, 3, 1)
    assert (texts(first), texts(last)) == (["4", "3"], ["0"])
    assert len(texts(await find(api, limit=2))) == 5


async def test_only_a_true_from_me_is_a_filter(api: httpx.AsyncClient, shop: Business) -> None:
    maria = shop.customer()
    maria.writes("oi")
    shop.owner.writes(maria, "olá")
    assert texts(await find(api, where={"key": {"fromMe": True}})) == ["olá"]
    assert texts(await find(api, where={"key": {"fromMe": False}})) == ["olá", "oi"]


async def test_a_time_filters_only_from_both_sides(
    api: httpx.AsyncClient, shop: Business, clock: Clock
) -> None:
    maria = shop.customer()
    maria.writes("before")
    clock.now = NOON + 60
    maria.writes("after")
    since = iso(NOON + 30)
    assert len(texts(await find(api, where={"messageTimestamp": {"gte": since}}))) == 2
    both = {"messageTimestamp": {"gte": since, "lte": iso(NOON + 600)}}
    assert texts(await find(api, where=both)) == ["after"]
    both = {"messageTimestamp": {"gte": (NOON + 30) * 1000, "lte": (NOON + 600) * 1000}}
    assert texts(await find(api, where=both)) == ["after"]


async def test_a_chat_is_found_by_the_jid_that_it_is_stored_under(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer(lid="199988877700001")
    maria.writes("under the lid")
    maria.writes("under the phone", identity="pn")
    shop.customer("5511988880002").writes("someone else")
    by_phone = await find(api, where={"key": {"remoteJid": maria.jid}})
    assert texts(by_phone) == ["under the phone"]
    by_lid = await find(api, where={"key": {"remoteJid": maria.lid}})
    assert texts(by_lid) == ["under the lid"]
    either = {"remoteJid": maria.jid, "remoteJidAlt": maria.jid}
    assert len(texts(await find(api, where={"key": either}))) == 2


async def test_what_was_sent_is_found_with_its_states(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    shop.tells_sends = "before"
    sent = await api.post("/message/sendText/shop", json={"number": maria.number, "text": "olá"})
    [record] = (await find(api, where={"key": {"id": sent.json()["key"]["id"]}}))["records"]
    assert record["MessageUpdate"] == [{"status": "DELIVERY_ACK"}, {"status": "READ"}]


async def test_an_instance_can_be_told_not_to_store_its_sends(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    shop.stores_sends = False
    await api.post("/message/sendText/shop", json={"number": maria.number, "text": "olá"})
    assert (maria.replies, texts(await find(api))) == (["olá"], [])


async def test_an_edit_changes_what_is_stored(api: httpx.AsyncClient, shop: Business) -> None:
    maria = shop.customer()
    written = maria.writes("oi")
    maria.edits(written, "oi, tudo bem?")
    assert texts(await find(api)) == ["oi, tudo bem?"]
    assert [message.text for message in maria.transcript] == ["oi, tudo bem?"]
