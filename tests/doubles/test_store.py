"""POST /chat/findMessages of the loopback Evolution, with the real one's ways."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Evolution
from tests.clients import patient

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
    async with patient(base_url=shop.program.url, headers=headers) as api:
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
    both: dict[str, Any] = {"messageTimestamp": {"gte": since, "lte": iso(NOON + 600)}}
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
    assert texts(await find(api, where={"key": either})) == ["under the phone"]
    by_alternative = await find(api, where={"key": {"remoteJidAlt": maria.jid}})
    assert texts(by_alternative) == ["under the lid"]


async def test_what_was_sent_is_found_with_its_states(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    shop.tells_sends = "before"
    sent = await api.post("/message/sendText/shop", json={"number": maria.number, "text": "olá"})
    [record] = (await find(api, where={"key": {"id": sent.json()["key"]["id"]}}))["records"]
    states = {update["status"] for update in record["MessageUpdate"]}  # in no order
    assert states == {"DELIVERY_ACK", "READ"}


async def test_an_instance_can_be_told_not_to_store_its_sends(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    shop.stores_sends = False
    await api.post("/message/sendText/shop", json={"number": maria.number, "text": "olá"})
    assert (maria.replies, texts(await find(api))) == (["olá"], [])


async def test_an_edit_changes_the_text_and_the_time_that_are_stored(
    api: httpx.AsyncClient, shop: Business, clock: Clock
) -> None:
    maria = shop.customer()
    written = maria.writes("oi")
    maria.writes("tem pão?", at=NOON + 1)
    clock.now = NOON + 60
    maria.edits(written, "oi, tudo bem?")
    found = await find(api)
    assert texts(found) == ["oi, tudo bem?", "tem pão?"]
    edited = found["records"][0]
    assert (edited["messageTimestamp"], edited["MessageUpdate"]) == (
        NOON + 60, [{"status": "EDITED"}],
    )  # fmt: skip
    assert [message.text for message in maria.transcript] == ["oi, tudo bem?", "tem pão?"]


async def test_a_deletion_on_a_phone_leaves_a_record_that_says_nothing(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    maria.deletes(maria.writes("oi"))
    [record] = (await find(api))["records"]
    assert record["message"] is None
    assert {update["status"] for update in record["MessageUpdate"]} == {"EDITED", "DELETED"}


async def test_an_own_send_that_comes_back_is_stored_twice(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer()
    sent = await api.post("/message/sendText/shop", json={"number": maria.number, "text": "olá"})
    shop.echoes(maria)
    shop.echoes(maria)  # the second echo is known to be one
    by_id = await find(api, where={"key": {"id": sent.json()["key"]["id"]}})
    assert (by_id["total"], texts(by_id)) == (2, ["olá", "olá"])
    assert maria.replies == ["olá"]


async def refused(api: httpx.AsyncClient, **query: Any) -> tuple[int, Any]:
    answer = await api.post("/chat/findMessages/shop", json=query)
    return answer.status_code, answer.json()["response"]["message"]


LIMIT = "2038-01-19T03:14:07Z"


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (iso(NOON), LIMIT, 1),
        ("1970-01-01T00:00:00Z", LIMIT, 1),
        ("2026-09-21T13:06:39.500-03:00", LIMIT, 0),
        (int(NOON), int(NOON), 0),  # seconds as numbers are milliseconds of January 1970
        (0, LIMIT, 1),  # nothing given: no filter
    ],
)
async def test_times_are_dates_or_milliseconds(
    api: httpx.AsyncClient, shop: Business, since: Any, until: Any, found: int
) -> None:
    shop.customer().writes("oi")
    range_ = {"messageTimestamp": {"gte": since, "lte": until}}
    assert (await find(api, where=range_))["total"] == found


@pytest.mark.parametrize(
    "until", ["2038-01-19T03:14:08Z", "2100-01-01T00:00:00Z", 4_102_444_800_000]
)
async def test_a_time_that_the_column_cannot_hold_is_a_500(
    api: httpx.AsyncClient, shop: Business, until: Any
) -> None:
    status, message = await refused(
        api, where={"messageTimestamp": {"gte": iso(NOON), "lte": until}}
    )
    assert status == 500
    assert message.startswith("\nInvalid `this.prismaRepository.message.count()` invocation")


@pytest.mark.parametrize("moment", ["1790000000", "ontem", "2026-13-01"])
async def test_a_text_that_is_no_date_is_a_500(
    api: httpx.AsyncClient, shop: Business, moment: str
) -> None:
    assert (await refused(api, where={"messageTimestamp": {"gte": moment, "lte": LIMIT}}))[0] == 500


@pytest.mark.parametrize(
    "query",
    [
        {"page": "2", "offset": "5"},
        {"offset": "5"},
        {"page": -1, "offset": 5},
        {"offset": -5},
        {"where": {"source": "xyz"}},
    ],
)
async def test_what_the_database_cannot_do_is_a_500(
    api: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    assert (await refused(api, **query))[0] == 500


@pytest.mark.parametrize(
    "key", [{"id": ""}, {"id": {"in": ["x"]}}, {"remoteJid": ""}, {"fromMe": "true"}]
)
async def test_what_the_schema_does_not_take_is_a_400(
    api: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    assert (await refused(api, where={"key": key}))[0] == 400


@pytest.mark.parametrize(
    "where",
    [{"status": "READ"}, {"pushName": "Ninguém"}, {"foo": 1}, {"messageTimestamp": int(NOON)}],
)
async def test_what_it_does_not_know_is_no_filter(
    api: httpx.AsyncClient, shop: Business, where: dict[str, Any]
) -> None:
    shop.customer().writes("oi")
    assert (await find(api, where=where))["total"] == 1


async def test_a_page_beyond_the_end_is_empty(api: httpx.AsyncClient, shop: Business) -> None:
    shop.customer().writes("oi")
    beyond = await find(api, page=99)
    assert (beyond["records"], beyond["currentPage"], beyond["total"]) == ([], 99, 1)


async def test_a_send_to_a_lid_is_not_found_by_the_phone(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer(lid="199988877700001")
    maria.writes("oi")
    await api.post("/message/sendText/shop", json={"number": maria.lid, "text": "ao lid"})
    await api.post("/message/sendText/shop", json={"number": maria.number, "text": "ao fone"})
    assert texts(await find(api, where={"key": {"remoteJid": maria.jid}})) == ["ao fone"]
    assert texts(await find(api, where={"key": {"remoteJid": maria.lid}})) == ["ao lid", "oi"]
    assert texts(await find(api, where={"key": {"remoteJidAlt": maria.jid}})) == ["oi"]
    assert maria.replies == ["ao lid", "ao fone"]
