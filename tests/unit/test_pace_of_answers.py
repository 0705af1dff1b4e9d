"""Long answers of one tenant's servers leave the event loop, and the memory, to the others."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from threading import current_thread
from time import monotonic
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr

from router.configuration.addresses import Allowed
from router.evolution.bots import enabled_bots
from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.errors import AnswerTooLarge, EvolutionError
from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends
from router.notices.delivery import Delivery, NoticeServices
from router.outbound import bounds
from router.outbound.answers import read_json
from router.outbound.bounds import LONGEST_ANSWER, SLICE, Bounds, unpacking
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over, for_tenant
from router.outbound.pace import Pace, Rate
from router.safety.moderation import Moderation, ModerationAway, ModerationRules
from router.sending import looking
from router.sending.evidence import Doubt, judge_sends
from router.sending.looking import Looking, Whereabouts
from router.sending.outbox import Outbox
from router.state.calls.notices import ClaimedNotice
from router.state.database import Json
from tests.scenarios.hostile import repeating, saying, server

HERE = Allowed.of(["127.0.0.0/8"])
SHOP = Instance("http://evolution.example", SecretStr("key"), "shop")
TEXT = {"number": "5511", "text": "Olá"}
GZIP = httpx.Headers({"content-encoding": "gzip"})
BOMB = gzip.compress(b" " * 2**26)


def test_what_unpacks_to_much_does_so_a_slice_at_a_time() -> None:
    slices = unpacking(GZIP.copy(), 2**24)(gzip.compress(bytes(2**24)))
    sizes = [len(each) for each in slices]
    assert max(sizes) <= SLICE
    assert sum(sizes) == 2**24


@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, 5 * SLICE])
@pytest.mark.parametrize("piece", [1, 7, 16 * 1024])
def test_what_is_unpacked_in_slices_is_what_was_packed(size: int, piece: int) -> None:
    body = (b"0123456789" * size)[:size]
    packed = gzip.compress(body)
    unpack = unpacking(GZIP.copy(), size)
    pieces = [packed[start : start + piece] for start in range(0, len(packed), piece)]
    assert b"".join(part for each in pieces for part in unpack(each)) == body


def test_what_comes_behind_the_end_is_not_kept() -> None:
    """To keep it takes the square of its length: zlib copies all of it with each piece."""
    unpack = unpacking(GZIP.copy(), 100)
    assert b"".join(unpack(gzip.compress(b"{}") + b"x" * 100)) == b"{}"
    for _ in range(100):
        assert b"".join(unpack(b"x" * 16_384)) == b""
    kept = unpack.__self__._begun.unused_data  # type: ignore[attr-defined]
    assert len(kept) <= 100


class _Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self.now += 1
        self._timer = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._timer.cancel()


@pytest.mark.parametrize("page_size", [1, 100])
async def test_between_two_turns_of_the_loop_no_more_is_unpacked_than_a_slice(
    page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = bounds.unpacking
    turns = _Turns()
    unpacked = Counter[int]()

    def counted(headers: httpx.Headers, longest: int) -> Callable[[bytes], Iterable[bytes]]:
        unpack = begun(headers, longest)

        def noted(piece: bytes) -> Iterable[bytes]:
            for part in unpack(piece):
                unpacked[turns.now] += len(part)
                yield part

        return noted

    monkeypatch.setattr("router.outbound.transport.unpacking", counted)
    async with (
        server(saying(b"Content-Encoding: gzip", BOMB)) as url,
        client_over(CheckedTransport(HERE), 30) as http,
    ):
        shop = Instance(url, SecretStr("key"), "shop")
        with pytest.raises(AnswerTooLarge) as large:
            await EvolutionClient(http, 1_000_000).find_messages(shop, None, page_size=page_size)
    turns.stop()
    assert sum(unpacked.values()) > LONGEST_ANSWER - SLICE
    assert max(unpacked.values()) <= 2 * SLICE
    assert large.value.weight >= LONGEST_ANSWER


class _Noted(Pace):
    """A pace that says how much was counted, and has everybody wait so long."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__()
        self.work = Counter[Hashable]()
        self._wait = wait

    def count(self, who: Hashable, work: int) -> float:
        self.work[who] += work
        return self._wait


async def counted(head: bytes, body: bytes, status: bytes = b"201 Created") -> int:
    """What an answer counts for."""
    pace = _Noted()
    async with (
        server(saying(head, body, status)) as url,
        client_over(CheckedTransport(HERE, pace=pace), 30) as http,
    ):
        with suppress(httpx.TransportError):  # what is news only has no end
            await http.post(url, content=b"{}", extensions=for_tenant("shop"))
    return pace.work["shop"]


async def test_a_small_answer_is_not_paced() -> None:
    word = json.dumps({"key": {"id": "A"}, "message": {"conversation": "x" * 4000}}).encode()
    assert await counted(b"X-Powered-By: Express", word) == 0
    assert await counted(b"Content-Encoding: gzip", gzip.compress(word)) == 0


async def test_an_answer_counts_for_what_it_costs() -> None:
    million = b"x" * 1_000_000
    assert 900_000 < await counted(b"X: y", million) < 2_000_000
    assert 900_000 < await counted(b"Content-Encoding: gzip", gzip.compress(million)) < 2_000_000
    assert await counted(b"X: y", b"[]," * 50_000) > 5_000_000
    assert await counted(b"", b"", b"102 Processing\r\n\r\nHTTP/1.1 102 P" * 200) > 300_000


async def test_what_repeats_its_request_is_not_paced() -> None:
    pace = _Noted()
    asked = json.dumps({"media": "A" * 1_000_000}).encode()
    async with (
        server(repeating(lambda body: body * 2)) as url,
        client_over(CheckedTransport(HERE, pace=pace), 30) as http,
    ):
        await http.post(url, content=asked, extensions=for_tenant("shop"))
    assert pace.work["shop"] == 0


async def test_who_has_to_wait_for_longer_than_there_is_time_has_no_answer() -> None:
    async with (
        server(saying(b"Content-Encoding: gzip", BOMB)) as url,
        client_over(CheckedTransport(HERE, pace=_Noted(3600)), 2) as http,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await http.get(url, extensions=for_tenant("shop"))
        with suppress(httpx.ReadError):
            await http.get(url)  # for nobody: the deployment's own


def test_who_reads_much_waits_and_nobody_else() -> None:
    now = 1000.0
    pace = Pace(Rate(a_second=100, at_once=1000), clock=lambda: now)
    assert pace.count("greedy", 1000) == 0
    assert pace.count("greedy", 500) == pytest.approx(5)
    assert pace.count("quiet", 500) == 0
    now += 5
    assert pace.count("greedy", 100) == pytest.approx(1)
    now += 100
    assert pace.count("greedy", 1000) == 0


def test_who_has_paid_is_forgotten() -> None:
    now = 0.0
    pace = Pace(Rate(a_second=100, at_once=100), clock=lambda: now)
    for number in range(5000):
        pace.count(number, 1)
        now += 1
    assert len(pace._paid_at) <= 1001


@pytest.mark.parametrize("media", [0, 16_000_000, 64_000_000])
def test_a_record_that_holds_a_media_comes_at_once_and_the_next_one_soon(media: int) -> None:
    pace = Pace(Rate.of_records(media), clock=lambda: 0.0)
    record = LONGEST_ANSWER + media * 4 // 3
    assert pace.count("shop", record) == 0
    assert pace.count("shop", record) <= 4.01


def test_lines_of_an_honest_head_cost_nothing() -> None:
    within = Bounds.within(10, 100)
    assert within.allows(b"HTTP/1.1 200 OK\r\n" + b"X-Header: value\r\n" * 40 + b"\r\n", 0)
    assert within.work == 0


CALLS: dict[str, Callable[[httpx.AsyncClient], Awaitable[object]]] = {
    "send": lambda http: EvolutionSends(http).send(SHOP, "message/sendText", TEXT),
    "state": lambda http: EvolutionClient(http).connection_state(SHOP),
    "messages": lambda http: EvolutionClient(http).find_messages(SHOP, None),
    "bots": lambda http: enabled_bots(http, SHOP),
    "moderation": lambda http: Moderation(
        http, http, ModerationRules(None, None, 5, fail_open=False)
    ).objects("http://moderation.example", "Olá", {"instance_name": "shop"}),
}
READERS = ("evolution.exchange", "evolution.errors", "evolution.bots", "safety.moderation")


async def readers(call: str, body: bytes, status: int, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """In which threads the answer is parsed."""
    found: set[str] = set()

    def noted(*how: Any, **more: Any) -> Any:
        found.add(current_thread().name)
        return read_json(*how, **more)

    for module in READERS:
        monkeypatch.setattr(f"router.{module}.read_json", noted)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    async with httpx.AsyncClient(transport=transport) as http:
        with suppress(EvolutionError, ModerationAway):
            await CALLS[call](http)
    return found


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("more", ["A" * 200_000, [[]] * 5_000], ids=["long", "many values"])
async def test_what_takes_long_to_parse_is_parsed_beside_the_loop(
    call: str, status: int, more: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"key": {"id": "A"}, "more": more}).encode()
    assert await readers(call, body, status, monkeypatch) <= {"large answers_0"}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("call", CALLS)
async def test_for_a_small_answer_no_thread_is_asked(
    call: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"key": {"id": "A"}, "message": {"conversation": "Olá" * 500}}).encode()
    assert await readers(call, body, status, monkeypatch) <= {"MainThread"}


@pytest.mark.parametrize("call", ["send", "state", "bots"])
@pytest.mark.parametrize("status", [200, 400])
async def test_a_word_of_a_hundred_thousand_values_is_not_parsed(
    call: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    monkeypatch.setattr("router.outbound.answers._parsed", lambda body: parsed.append(len(body)))
    body = b'{"key": {"id": "A"}, "more": [' + b"[]," * 100_000 + b"[]]}"
    await readers(call, body, status, monkeypatch)
    assert parsed == []


NOW = datetime.now(UTC)
DOUBT = Doubt("text", "Olá", NOW, None, None)


class _TooLarge(EvolutionClient):
    """An Evolution whose every answer is cut, as late as may be."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def find_messages(self, *_: Any, page_size: int = 50, **__: Any) -> MessagePage:
        self.asked.append(page_size)
        error = AnswerTooLarge("its answer is longer than may be")
        error.weight = LONGEST_ANSWER if page_size > 1 else LONGEST_ANSWER + 21_000_000
        raise error


@pytest.mark.parametrize("jids", [["a@lid"], ["a@lid", "b@lid", "c@lid"]])
async def test_a_chat_whose_answers_are_all_cut_is_asked_for_a_few_times(jids: list[str]) -> None:
    evolution = _TooLarge()
    chat = Whereabouts(SHOP, jids, frozenset(), frozenset(), NOW, NOW)
    verdict = await Looking(evolution, 60).look([DOUBT], chat)
    assert evolution.asked == [100, 50, 25, 5, 1, 1]
    assert verdict.findings[0].outcome == "unknown"
    assert verdict.check_after == 30


async def test_a_heavy_chat_is_judged_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    judges: list[str] = []

    def noted(*how: Any) -> Any:
        judges.append(current_thread().name)
        return judge_sends(*how)

    class Shows(EvolutionClient):
        def __init__(self, weight: int) -> None:
            self._weight = weight

        async def find_messages(self, *_: Any, **__: Any) -> MessagePage:
            return MessagePage((), 1, 0, self._weight)

    monkeypatch.setattr(looking, "judge_sends", noted)
    chat = Whereabouts(SHOP, ["a@lid"], frozenset(), frozenset(), NOW, NOW)
    for weight in (1000, 1_000_000):
        await Looking(Shows(weight), 60).look([DOUBT], chat)
    assert judges == ["MainThread", "large answers_0"]


async def test_of_one_tenant_one_record_that_may_hold_a_media_is_read_at_a_time() -> None:
    asked: list[tuple[str, int]] = []
    gate = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        size = json.loads(request.content)["offset"]
        asked.append((request.url.path.rpartition("/")[2], size))
        await gate.wait()
        return httpx.Response(200, json={"messages": {"records": [], "pages": 1, "total": 0}})

    quiet = Instance(SHOP.server_url, SHOP.api_key, "quiet")
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        find = partial(EvolutionClient(http).find_messages, jid=None)
        asks = [(SHOP, 1), (SHOP, 1), (SHOP, 1), (SHOP, 100), (quiet, 1)]
        finding = [asyncio.create_task(find(shop, page_size=size)) for shop, size in asks]
        for _ in range(20):
            await asyncio.sleep(0)
        assert sorted(asked) == [("quiet", 1), ("shop", 1), ("shop", 100)]
        gate.set()
        await asyncio.gather(*finding)
    assert len(asked) == len(asks)


NOTICE = {
    "notice_id": 7, "token": "11111111-1111-4111-8111-111111111111", "attempt": 1,
    "kind": "handoff", "tenant_id": 1, "instance_name": "shop", "session_id": 2, "facts": {},
    "created_at": "2026-11-20T12:00:00+00:00", "number": None, "told": False,
}  # fmt: skip


@pytest.mark.parametrize("status", [b"200 OK", b"500 Internal Server Error"])
async def test_of_what_a_notify_url_answers_nothing_is_unpacked(
    status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[bytes] = []

    def noted(headers: httpx.Headers, longest: int) -> Callable[[bytes], Iterable[bytes]]:
        del headers, longest

        def unpack(piece: bytes) -> Iterable[bytes]:
            unpacked.append(piece)
            return ()

        return unpack

    class State:
        def __init__(self) -> None:
            self.told: list[str] = []

        async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
            del argument
            self.told.append(function)
            return {"state": "told" if function == "finish_notice" else "pending"}

    monkeypatch.setattr("router.outbound.transport.unpacking", noted)
    state = State()
    async with (
        server(saying(b"Content-Encoding: gzip", BOMB, status)) as url,
        client_over(CheckedTransport(HERE), 30) as http,
    ):
        services = NoticeServices(
            state, http, cast("Outbox", None), None, max_attempts=5, retry_base=30
        )
        claimed = ClaimedNotice.model_validate({**NOTICE, "url": url})
        await Delivery(claimed, services, monotonic() + 60).run()
    assert unpacked == []
    assert state.told == ["finish_notice" if status.startswith(b"200") else "fail_notice"]
