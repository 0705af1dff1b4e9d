"""Heavy records are asked for a few at a time; one that is too large even alone is passed over."""

import asyncio
import json
import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import current_thread
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.configuration.addresses import Allowed
from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.errors import AnswerTooLarge, EvolutionAway
from router.evolution.exchange import Instance
from router.evolution.pages import SIZES, Pages
from router.outbound.answers import MOST_VALUES, read_json
from router.outbound.bounds import LONGEST_ANSWER
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.sending.evidence import Doubt
from router.sending.looking import Looking, Whereabouts
from tests.clients import patient
from tests.for_each import for_each
from tests.scenarios.hostile import saying, server

HERE = Allowed.of(["127.0.0.0/8"])
MARIA = "5511955550001@s.whatsapp.net"


async def turned(count: int, most: float, heavy: Collection[int] = ()) -> tuple[Pages, list[int]]:
    """Turn all pages; an answer holds `most` records, and never a heavy one."""
    seen: list[int] = []

    async def find(page: int, size: int) -> MessagePage:
        few = range(count)[(page - 1) * size : page * size]
        if len(few) > most or set(few) & set(heavy):
            raise AnswerTooLarge("it is too large")
        seen.extend(few)
        records = [{"number": number} for number in few]
        return MessagePage(records, pages=math.ceil(count / size), total=count)

    pages = Pages(find)
    while not pages.is_over:
        await pages.turn()
        assert pages.asked < 5 * count + 10
    return pages, seen


@for_each("count", [0, 1, 5, 99, 100, 101, 230])
@for_each("most", [math.inf, 99, 50, 30, 7, 1])
async def test_every_record_is_seen_once_however_few_fit_an_answer(count: int, most: float) -> None:
    pages, seen = await turned(count, most)
    assert seen == list(range(count))
    assert not pages.passed_over


@pytest.mark.parametrize("heavy", [[0], [229], [100], [0, 1, 2], range(90, 130), range(230)])
async def test_what_is_too_large_alone_is_passed_over_and_nothing_else(
    heavy: Collection[int],
) -> None:
    pages, seen = await turned(230, math.inf, heavy)
    assert seen == [number for number in range(230) if number not in heavy]
    assert [each.place - 1 for each in pages.passed_over] == list(heavy)


async def test_light_records_after_a_heavy_one_come_by_the_hundred_again() -> None:
    pages, _ = await turned(2000, math.inf, [0])
    assert pages.asked < 20 + 30
    assert all(larger % smaller == 0 for larger, smaller in pairwise(SIZES))


def page_of(*records: Any, pages: int = 1) -> bytes:
    return json.dumps({"messages": {"records": records, "pages": pages, "total": 1}}).encode()


@pytest.mark.apart
@pytest.mark.parametrize(
    ("body", "alone"),
    [
        (page_of({"media": "A" * LONGEST_ANSWER}), True),
        (page_of({"media": "A" * (LONGEST_ANSWER + 2_000_000)}), False),
        (page_of({"thumbnail": dict.fromkeys(map(str, range(100_000)), 7)}), True),
        (page_of({"thumbnail": [7] * MOST_VALUES}), False),
    ],
    ids=["a media", "longer than a media", "many values", "too many values"],
)
async def test_an_answer_that_is_too_large_is_told_from_other_faults(
    body: bytes, *, alone: bool
) -> None:
    async with (
        client_over(CheckedTransport(HERE), 30) as http,
        server(saying(b"Content-Length: %d" % len(body), body)) as url,
    ):
        shop = Instance(url, SecretStr("key"), "shop")
        evolution = EvolutionClient(http, most_media=1_000_000)
        with pytest.raises(AnswerTooLarge):
            await evolution.find_messages(shop, None, page_size=2)
        if alone:
            assert len((await evolution.find_messages(shop, None, page_size=1)).records) == 1
        else:
            with pytest.raises(AnswerTooLarge):
                await evolution.find_messages(shop, None, page_size=1)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ({"id": "3EB0AA", "fromMe": False, "remoteJid": MARIA}, "3EB0AA"),
        ({"remoteJid": MARIA, "fromMe": False, "id": "wamid.HBgL+/="}, "wamid.HBgL+/="),
        ({"id": "\x1b[31m"}, None),
        ({"id": "A" * 500}, None),
        ({}, None),
    ],
)
async def test_what_is_too_large_alone_is_named_where_its_key_can_be_seen(
    key: dict[str, Any], named: str | None
) -> None:
    body = page_of({"id": "row", "key": key, "message": {"thumbnail": [7] * MOST_VALUES}})
    async with (
        client_over(CheckedTransport(HERE), 30) as http,
        server(saying(b"Content-Length: %d" % len(body), body)) as url,
    ):
        shop = Instance(url, SecretStr("key"), "shop")
        with pytest.raises(AnswerTooLarge) as large:
            await EvolutionClient(http).find_messages(shop, None, page_size=1)
    assert large.value.wa_id == named


@pytest.mark.parametrize(
    ("more", "thread"), [("A" * 1000, "MainThread"), ([7] * 40_000, "large answers_0")]
)
async def test_a_large_answer_is_read_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, more: object, thread: str
) -> None:
    readers: list[str] = []

    def noted(*how: Any) -> Any:
        readers.append(current_thread().name)
        return read_json(*how)

    monkeypatch.setattr("router.evolution.exchange.read_json", noted)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=page_of({"more": more})))
    async with httpx.AsyncClient(transport=transport) as http:
        shop = Instance("http://evolution.example", SecretStr("key"), "shop")
        pages = await asyncio.gather(
            *(EvolutionClient(http).find_messages(shop, None) for _ in range(8))
        )
    assert {len(page.records) for page in pages} == {1}
    assert readers == [thread] * 8


async def test_no_answer_at_all_is_not_too_large() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut")

    async with httpx.AsyncClient(transport=httpx.MockTransport(cut)) as http:
        shop = Instance("http://evolution.example", SecretStr("key"), "shop")
        with pytest.raises(EvolutionAway) as away:
            await EvolutionClient(http).find_messages(shop, None)
    assert not isinstance(away.value, AnswerTooLarge)


@pytest.mark.parametrize("is_heavy", [True, False])
async def test_a_send_in_doubt_is_found_among_heavy_records(*, is_heavy: bool) -> None:
    """Its record is there, beside one that cannot be read; where it is not, nothing is proved."""
    began = datetime.now(UTC) - timedelta(hours=1)

    def record(wa_id: str, text: str, size: int = 0) -> dict[str, Any]:
        key = {"id": wa_id, "fromMe": True, "remoteJid": MARIA}
        return {
            "key": key,
            "message": {"conversation": text},
            "messageType": "conversation",
            "messageTimestamp": int(began.timestamp()),
            "more": "A" * size,
        }

    stored = [record("A", "Oi"), record("B", "Olá"), record("C", "Tchau")]
    if is_heavy:
        stored[0]["more"] = "A" * (LONGEST_ANSWER + 200)

    class Shows(EvolutionClient):
        async def find_messages(
            self, *_: Any, page: int = 1, page_size: int = 1, **__: Any
        ) -> MessagePage:
            few = stored[(page - 1) * page_size : page * page_size]
            if len(json.dumps(few)) > LONGEST_ANSWER:
                raise AnswerTooLarge("it is too large")
            return MessagePage(few, math.ceil(len(stored) / page_size), len(stored))

    instance = Instance("http://evolution.example", SecretStr("key"), "shop")
    where = Whereabouts(instance, [MARIA], frozenset({"C"}), frozenset(), began, datetime.now(UTC))
    doubts = [Doubt("text", text, began, None, None) for text in ("Olá", "Nunca")]
    async with patient() as http:
        found, missing = (await Looking(Shows(http), 60).look(doubts, where)).findings
    assert (found.outcome, found.wa_id) == ("sent", "B")
    assert missing.outcome == ("unknown" if is_heavy else "not_sent")
