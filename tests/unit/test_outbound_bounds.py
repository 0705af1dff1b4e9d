"""A server that trickles, hangs or answers without end keeps nobody up but who asked it."""

import asyncio
import base64
import gzip
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from time import monotonic

import httpx
import pytest
from pydantic import SecretStr

from loopback.connections import Talk
from router.configuration.addresses import Allowed
from router.evolution.errors import EvolutionAway, EvolutionRefused, SendInDoubt
from router.evolution.exchange import Instance
from router.evolution.sends import SentMessage
from router.outbound.answers import MOST_VALUES, read_json
from router.outbound.bounds import (
    LONGEST_ANSWER,
    AnswerTooLong,
    NotBegunInTime,
    NotHeardInTime,
)
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over, for_tenant
from router.outbound.own import open_flows_http, open_own_http
from router.safety.moderation import Moderation, ModerationAway, ModerationRules
from tests import exchanges
from tests.evolution import WholeEvolution
from tests.scenarios.hostile import repeating, saying, server, silence, without_end

HERE = Allowed.of(["127.0.0.0/8"])
ABOUT = {"tenant_id": 1, "instance_name": "shop", "session_id": 1, "turn_id": 1}


OK = b"HTTP/1.1 200 OK\r\n"
TRICKLES = {
    "a body, a byte at a time": without_end(
        OK + b"Content-Length: 1000000\r\n\r\n", b" ", pause=0.01
    ),
    "a head, a byte at a time": without_end(OK + b"X-Long: ", b"a", pause=0.01),
    "chunks, now and then": without_end(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", pause=0.01
    ),
    "news that it goes on": without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n", pause=0.01),
    "nothing": silence,
}
FLOODS = {
    "a body": without_end(OK + b"\r\n", b"a" * 65536),
    "tiny chunks": without_end(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 9999),
    "headers": without_end(OK, b"X-Long: " + b"a" * 9999 + b"\r\n"),
    "news that it goes on": without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 999),
    "what unpacks to much": saying(
        b"Content-Encoding: gzip", gzip.compress(b"a" * (LONGEST_ANSWER + 1))
    ),
    "what is packed twice": saying(
        b"Content-Encoding: gzip, gzip", gzip.compress(gzip.compress(b"a" * LONGEST_ANSWER * 9))
    ),
    "what was not asked for": saying(b"Content-Encoding: deflate", zlib.compress(b"a" * 99)),
    "what is not packed": saying(b"Content-Encoding: gzip", b"plain"),
}


@pytest.fixture(params=["tenant", "own"])
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """Each of the two clients, with a short time-out."""
    seconds = 0.5
    if request.param == "own":
        http = open_own_http(seconds)
    else:
        http = client_over(CheckedTransport(HERE), seconds)
    async with http:
        yield http


@pytest.fixture
async def patient() -> AsyncIterator[httpx.AsyncClient]:
    async with client_over(CheckedTransport(HERE), 60) as http:
        yield http


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", TRICKLES)
async def test_an_answer_has_a_deadline_as_a_whole(hasty: httpx.AsyncClient, how: str):
    async with server(TRICKLES[how]) as url:
        with pytest.raises(httpx.TimeoutException):
            await hasty.get(url)
    assert transport_of(hasty).in_flight == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", FLOODS)
async def test_an_answer_has_a_longest_length_on_the_line_and_unpacked(
    patient: httpx.AsyncClient, how: str
):
    async with server(FLOODS[how]) as url:
        with pytest.raises(httpx.RequestError) as ended:
            await patient.get(url)
    assert not isinstance(ended.value, httpx.TimeoutException)
    assert transport_of(patient).in_flight == 0


async def test_of_a_packed_flood_no_more_is_unpacked_than_may_be(patient: httpx.AsyncClient):
    bomb = gzip.compress(b"a" * LONGEST_ANSWER * 16)
    came = Counter[str]()

    async def read(url: str) -> None:
        async with patient.stream("GET", url) as answer:
            async for piece in answer.aiter_bytes():
                came["bytes"] += len(piece)

    async with server(saying(b"Content-Encoding: gzip", bomb)) as url:
        with pytest.raises(AnswerTooLong):
            await read(url)
    assert came["bytes"] <= LONGEST_ANSWER


async def test_what_is_packed_and_small_is_read(patient: httpx.AsyncClient):
    async with server(saying(b"Content-Encoding: gzip", gzip.compress(b'{"a": 1}'))) as url:
        assert (await patient.get(url)).json() == {"a": 1}


async def test_a_caller_may_ask_for_more_or_less(patient: httpx.AsyncClient):
    async with server(saying(b"Content-Length: 10", b"0123456789")) as url:
        assert (await patient.get(url, extensions={"longest": 10})).content == b"0123456789"
        with pytest.raises(httpx.ReadError):
            await patient.get(url, extensions={"longest": 9})


def out_of_time(answer: Talk, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return an answer in whose midst all time is over, however slow the machine is."""
    loop = asyncio.get_running_loop()
    passed, real = Counter[str](), loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed["seconds"])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = asyncio.ensure_future(answer(reader, writer))
        try:
            for _ in range(10):
                await asyncio.sleep(0)
            passed["seconds"] += 600
            await begun
        finally:
            begun.cancel()

    return talk


@pytest.mark.parametrize("what", ["a body, a byte at a time", "nothing", "what unpacks to much"])
async def test_of_a_send_that_was_answered_so_nobody_knows_whether_it_left(
    patient: httpx.AsyncClient, what: str, monkeypatch: pytest.MonkeyPatch
):
    answer = FLOODS.get(what) or out_of_time(TRICKLES[what], monkeypatch)
    async with server(answer) as url:
        client, shop = WholeEvolution(patient), Instance(url, SecretStr("key"), "shop")
        with pytest.raises(SendInDoubt):
            await client.send_text(shop, "5511", "Olá")
        with pytest.raises(EvolutionAway):
            await client.connection_state(shop)


KEY = {"id": "3EB0", "remoteJid": "5511@s.whatsapp.net", "fromMe": True}
MEDIA = base64.b64encode(bytes(range(256)) * 16 * 1024).decode()  # longer than an answer is


def cloud(asked: bytes) -> bytes:
    """As the Cloud channel answers with webhookBase64 on: the media is in it twice."""
    media = json.loads(asked).get("media", "")
    said = {"base64": media, "imageMessage": {"media": media, "caption": "um bolo"}}
    return json.dumps({"key": KEY, "message": said, "status": "PENDING"}).encode()


def packed(body: bytes) -> Talk:
    body = gzip.compress(body)
    return saying(b"Content-Encoding: gzip\r\nContent-Length: %d" % len(body), body)


def shop_at(url: str) -> Instance:
    return Instance(url, SecretStr("key"), "shop")


def send_media(http: httpx.AsyncClient, url: str, media: str = MEDIA) -> Awaitable[SentMessage]:
    body = {"number": "5511", "mediatype": "image", "media": media}
    return WholeEvolution(http).send(shop_at(url), "message/sendMedia", body)


@pytest.mark.timeout(60)
async def test_the_answer_to_a_send_may_repeat_what_was_sent(patient: httpx.AsyncClient):
    assert len(MEDIA) > LONGEST_ANSWER
    async with server(repeating(cloud)) as url:
        sent = await send_media(patient, url)
    assert (sent.wa_id, sent.status) == ("3EB0", "PENDING")


@pytest.mark.timeout(60)
async def test_an_error_that_repeats_what_was_sent_says_the_same_as_a_short_one(
    patient: httpx.AsyncClient,
):
    """Evolution stores what was sent, and shows in its error all that it could not store."""

    def prisma(asked: bytes) -> bytes:
        said = f"Invalid `prisma.message.create()`: {{base64: {json.loads(asked)['media']!r}}}"
        return json.dumps({"response": {"message": [said, MEDIA]}}).encode()

    async with server(repeating(prisma, b"400 Bad Request")) as url:
        with pytest.raises(SendInDoubt, match=r"prisma"):
            await send_media(patient, url)

    def refused(asked: bytes) -> bytes:
        return json.dumps({"response": {"message": ["Owned media"]}, "asked": MEDIA * 2}).encode()

    async with server(repeating(refused, b"400 Bad Request")) as url:
        with pytest.raises(EvolutionRefused, match=r"Owned media"):
            await send_media(patient, url)


ANSWERS_OF_HARM = {
    "more than it was sent": lambda _: cloud(b'{"media": "%s"}' % (MEDIA * 4).encode()),
    "what is no media": lambda _: json.dumps({"key": KEY, "a": "! " * LONGEST_ANSWER}).encode(),
    "pieces of media": lambda _: json.dumps({"key": KEY, "a": ["A" * 60_000] * 100}).encode(),
    "many values": lambda _: json.dumps({"key": KEY, "a": [1] * (MOST_VALUES + 99)}).encode(),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ANSWERS_OF_HARM)
@pytest.mark.parametrize("status", [b"201 Created", b"400 Bad Request"])
async def test_whoever_was_sent_a_media_can_answer_no_more_than_others(
    patient: httpx.AsyncClient, what: str, status: bytes
):
    async with server(repeating(ANSWERS_OF_HARM[what], status)) as url:
        with pytest.raises(SendInDoubt):
            await send_media(patient, url)


async def test_a_text_of_many_values_may_be_repeated(patient: httpx.AsyncClient):
    """They are counted as they are written, also where they stand in a text."""
    text = "," * (MOST_VALUES // 2)

    def repeats(asked: bytes) -> bytes:
        said = json.loads(asked)["text"]
        return json.dumps({"key": KEY, "a": said, "b": said, "c": said}).encode()

    async with server(repeating(repeats)) as url:
        sent = await WholeEvolution(patient).send_text(shop_at(url), "5511", text)
    assert sent.wa_id == "3EB0"


@pytest.mark.parametrize("how", ["plain", "packed"])
async def test_of_media_in_an_answer_little_is_held(patient: httpx.AsyncClient, how: str):
    answer = cloud(b'{"media": "%s"}' % MEDIA.encode())
    talk = packed(answer) if how == "packed" else repeating(lambda _: answer)
    bounds = {"longest": len(answer), "kept": LONGEST_ANSWER}
    async with server(talk) as url:
        came = await patient.post(url, content=b"{}", extensions=bounds)
        assert len(came.content) < 200_000
        assert came.json()["message"]["imageMessage"]["caption"] == "um bolo"
        with pytest.raises(AnswerTooLong):
            await patient.post(url, content=b"{}", extensions=bounds | {"longest": LONGEST_ANSWER})


async def test_a_send_may_have_longer_than_its_client():
    """What is asked after it, in the client's own time, has been given up before it is answered."""
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.is_set():
            await silence(reader, writer)
            return
        asked.set()
        await given_up.wait()
        await repeating(cloud)(reader, writer)

    async with server(answer) as url, client_over(CheckedTransport(HERE), 0.2) as http:
        evolution, shop = WholeEvolution(http), shop_at(url)
        body = {"number": "5511", "text": "Olá"}
        sending = asyncio.create_task(evolution.send(shop, "message/sendText", body, 30))
        await asked.wait()
        with pytest.raises(EvolutionAway):
            await evolution.connection_state(shop)
        given_up.set()
        assert (await sending).wa_id == "3EB0"


MONSTERS = {
    "many lists": b"[" + b"[]," * MOST_VALUES + b"[]]",
    "many objects": b"[" + b"{}," * MOST_VALUES + b"{}]",
    "deep lists": b"[" * 100_000,
    "deep but closed": b"[" * 500 + b"]" * 500,
    "deep objects": b'{"a":' * 100_000,
    "a number of 5,000 digits": b"9" * 5000,
    "no UTF-8": b'"\xff"',
    "nothing": b"",
}


@pytest.mark.parametrize("what", MONSTERS)
def test_json_that_is_monstrous_is_as_none(what: str):
    with pytest.raises(ValueError, match=r"."):
        read_json(MONSTERS[what])


@pytest.mark.apart
@pytest.mark.parametrize("what", MONSTERS)
async def test_evolution_that_answers_so_is_no_evolution(patient: httpx.AsyncClient, what: str):
    client = WholeEvolution(patient)
    async with server(saying(b"", MONSTERS[what])) as url:
        shop = Instance(url, SecretStr("key"), "shop")
        with pytest.raises(SendInDoubt):
            await client.send_text(shop, "5511", "Olá")
        with pytest.raises(EvolutionAway):
            await client.find_messages(shop, None)


@pytest.mark.parametrize("what", ["a head, a byte at a time", "tiny chunks", "deep lists"])
@pytest.mark.timeout(60)
async def test_a_moderation_service_that_answers_so_is_away(hasty: httpx.AsyncClient, what: str):
    rules = ModerationRules(None, None, 0.5, fail_open=False)
    answer = {**TRICKLES, **FLOODS}.get(what) or saying(b"", MONSTERS[what])
    async with server(answer) as url:
        with pytest.raises(ModerationAway):
            await Moderation(hasty, hasty, rules).objects(url, "Olá", ABOUT)


async def test_tenants_whose_server_hangs_leave_connections_for_others():
    transport = CheckedTransport(HERE, limit=40)
    briefly = httpx.Timeout(60, pool=0.05)
    async with AsyncExitStack() as stack:
        hanging = await stack.enter_async_context(server(silence))
        quick = await stack.enter_async_context(server(saying(b"Content-Length: 2", b"ok")))
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, timeout=briefly)
        )
        asks = [
            asyncio.create_task(http.get(hanging, extensions=for_tenant(name)))
            for name in ("greedy", "greedier")
            for _ in range(40)
        ]
        refused = await those_that_end(asks, 80 - 36)
        assert {type(ask.exception()) for ask in refused} == {httpx.PoolTimeout}
        assert (await http.get(quick, extensions=for_tenant("quiet"))).text == "ok"
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
    assert transport.in_flight == 0


Asks = list["asyncio.Task[httpx.Response]"]


async def those_that_end(asks: Asks, count: int) -> Asks:
    """Those that end while the others are kept waiting."""
    while sum(ask.done() for ask in asks) < count:
        await asyncio.wait([ask for ask in asks if not ask.done()], return_when="FIRST_COMPLETED")
    return [ask for ask in asks if ask.done()]


async def test_a_name_whose_server_never_answers_is_asked_for_once():
    asked: list[str] = []
    gate = asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        await gate.wait()
        return ["127.0.0.1"]

    async with client_over(CheckedTransport(HERE, resolve), 0.1) as http:
        for _ in range(3):
            asks = [http.get("http://hangs.example/") for _ in range(5)]
            failed = await asyncio.gather(*asks, return_exceptions=True)
            assert {type(error) for error in failed} == {httpx.ConnectTimeout}
        gate.set()
    assert asked == ["hangs.example"]


async def test_proxies_of_the_environment_are_used_for_the_deployments_own_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with server(saying(b"Content-Length: 2", b"ok")) as url, open_own_http(5) as own:
        with pytest.raises(httpx.ConnectError):
            await own.get(url)
        async with client_over(CheckedTransport(HERE), 5) as http:
            assert (await http.get(url)).text == "ok"


async def test_behind_a_proxy_too_no_request_begins_too_late(monkeypatch: pytest.MonkeyPatch):
    async with exchanges.server(exchanges.friendly) as proxy:
        behind(proxy.url, monkeypatch)
        for number, opened in enumerate((open_own_http(5), open_flows_http(5, most=2))):
            async with opened as http:
                late, in_time = ({"begin_by": monotonic() + left} for left in (-1, 60))
                with pytest.raises(NotBegunInTime):
                    await http.post("http://n8n.example/", json={}, extensions=late)
                assert proxy.asked == number
                answer = await http.post("http://n8n.example/", json={}, extensions=in_time)
                assert answer.status_code == 200


async def test_behind_a_proxy_too_a_standstill_says_nothing_about_the_server(
    monkeypatch: pytest.MonkeyPatch,
):
    stood_still, is_asked = exchanges.clock_of(monkeypatch), asyncio.Event()

    async def busy(line: exchanges.Line) -> None:
        await line.hear()
        is_asked.set()
        await line.ended()

    async with exchanges.server(busy) as proxy:
        behind(proxy.url, monkeypatch)
        async with open_flows_http(600, most=1) as http:
            one = asyncio.create_task(http.post("http://n8n.example/", json={}))
            await is_asked.wait()
            extensions = {"begin_by": monotonic() + 300}
            for waits, failure in ((60.0, NotBegunInTime), (0.1, httpx.PoolTimeout)):
                other = asyncio.create_task(
                    http.post("http://n8n.example/", json={}, timeout=waits, extensions=extensions)
                )
                await asyncio.sleep(0)
                stood_still(120 if waits == 60 else 0)
                with pytest.raises((httpx.PoolTimeout, NotBegunInTime)) as failed:
                    await other
                assert type(failed.value) is failure
            one.cancel()
            await asyncio.wait([one])


async def test_behind_a_proxy_too_each_wait_has_its_own_time(monkeypatch: pytest.MonkeyPatch):
    """A place is waited for only briefly: a standstill of less than the time to connect counts."""
    stood_still, is_asked = exchanges.clock_of(monkeypatch), asyncio.Event()

    async def busy(line: exchanges.Line) -> None:
        await line.hear()
        is_asked.set()
        await line.ended()

    async with exchanges.server(busy) as proxy:
        behind(proxy.url, monkeypatch)
        async with open_flows_http(600, most=1) as http:
            one = asyncio.create_task(http.post("http://n8n.example/", json={}))
            await is_asked.wait()
            waits = httpx.Timeout(600, connect=60, pool=30)
            extensions = {"begin_by": monotonic() + 300}
            other = asyncio.create_task(
                http.post("http://n8n.example/", json={}, timeout=waits, extensions=extensions)
            )
            await asyncio.sleep(0)
            stood_still(40)
            with pytest.raises(NotBegunInTime):
                await other
            one.cancel()
            await asyncio.wait([one])


@pytest.mark.parametrize("stands_still", [60, 0])
async def test_behind_a_proxy_too_a_standstill_while_it_connects_says_nothing_about_the_server(
    stands_still: float, monkeypatch: pytest.MonkeyPatch
):
    stood_still = exchanges.clock_of(monkeypatch)

    async def shakes_no_hands(line: exchanges.Line) -> None:
        await line.hear_some()
        stood_still(stands_still)
        await line.ended()

    async with exchanges.server(shakes_no_hands) as proxy:
        behind(proxy.url.replace("http://", "https://"), monkeypatch)
        async with open_flows_http(30 if stands_still else 0.3, most=1) as http:
            extensions = {"begin_by": monotonic() + 600}
            with pytest.raises(httpx.ConnectTimeout) as failed:
                await http.post("http://n8n.example/", json={}, extensions=extensions)
    assert isinstance(failed.value, NotBegunInTime) is bool(stands_still)


@pytest.mark.parametrize("stands_still", [60, 0])
async def test_behind_a_proxy_too_a_standstill_until_the_answer_says_nothing_about_the_server(
    stands_still: float, monkeypatch: pytest.MonkeyPatch
):
    stood_still = exchanges.clock_of(monkeypatch)

    async def answers(line: exchanges.Line) -> None:
        await line.hear()
        stood_still(stands_still)
        await line.ended()

    async with exchanges.server(answers) as proxy:
        behind(proxy.url, monkeypatch)
        async with open_flows_http(30 if stands_still else 0.3, most=1) as http:
            extensions = {"begin_by": monotonic() + 600}
            with pytest.raises(httpx.ReadTimeout) as failed:
                await http.post("http://n8n.example/", json={}, extensions=extensions)
    assert isinstance(failed.value, NotHeardInTime) is bool(stands_still)


def behind(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a proxy for all that the deployment asks."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)


def transport_of(http: httpx.AsyncClient) -> CheckedTransport:
    return http._transport  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
