"""One request, one answer, whatever a server does: sent once, never another's answer, or an error.

What is told apart is whether anything was sent: only where nothing was, a caller may ask again.
"""

import asyncio

import httpx
import pytest

from router.configuration.settings import load_settings
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.outbound.line import Line as Connection
from router.outbound.names import Resolve
from router.outbound.pools import TenantPools
from tests.exchanges import (
    HERE,
    OK,
    Line,
    Talk,
    client,
    first,
    friendly,
    resolving,
    server,
)

NUMBER = OK + b"Content-Length: 1\r\n\r\n0"
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n"
LARGE = b"a" * 16_000_000  # more than the line holds
BROKEN = (httpx.ReadError, httpx.RemoteProtocolError)


async def answer_of(http: httpx.AsyncClient, url: str) -> str:
    return (await http.post(url, json={"text": "Olá"})).text


async def test_one_connection_carries_one_request_after_the_other():
    async with server(friendly) as there, client() as http:
        assert [await answer_of(http, there.url) for _ in range(3)] == ["0", "0", "0"]
        await http.aclose()
        (line,) = there.lines
        await line.gone.wait()


@pytest.mark.parametrize("pause", [None, 0.02], ids=["just before", "a moment before"])
async def test_an_idle_connection_that_was_closed_is_not_used(pause: float | None):
    async with server(friendly) as there, client() as http:
        assert await answer_of(http, there.url) == "0"
        there.lines[0].shut()
        if pause:
            await asyncio.sleep(pause)
        assert [await answer_of(http, there.url) for _ in range(2)] == ["1", "1"]
    assert there.asked == 3


async def test_an_idle_connection_that_was_reset_is_not_used():
    async with server(friendly) as there, client() as http:
        assert await answer_of(http, there.url) == "0"
        there.lines[0].reset()
        await asyncio.sleep(0.02)
        assert await answer_of(http, there.url) == "1"
    assert there.asked == 2


@pytest.mark.parametrize("pause", [None, 0.02], ids=["just before", "a moment before"])
async def test_what_comes_unasked_over_an_idle_connection_is_nobodys_answer(pause: float | None):
    async with server(friendly) as there, client() as http:
        assert await answer_of(http, there.url) == "0"
        there.lines[0].say_now(EVIL)
        if pause:
            await asyncio.sleep(pause)
        assert await answer_of(http, there.url) == "1"
    assert there.asked == 2


LEFT_OVER = {
    "a second answer": NUMBER + EVIL,
    "a second answer behind chunks": CHUNKS + EVIL,
    "a body behind 204": b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL,
    "a body behind 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n" + EVIL,
}


def says_and_goes_on(answer: bytes) -> Talk:
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(answer)
        await friendly(line)

    return talk


@pytest.mark.parametrize("answer", LEFT_OVER.values(), ids=LEFT_OVER)
async def test_what_comes_behind_an_answer_is_nobodys_answer(answer: bytes):
    async with server(first(says_and_goes_on(answer))) as there, client() as http:
        assert await answer_of(http, there.url) in ("0", "")
        assert [await answer_of(http, there.url) for _ in range(2)] == ["1", "1"]
    assert there.asked == 3


@pytest.mark.parametrize("piece", [OK + b"X: ", b"\r\n\r\n"], ids=["of a head", "line ends"])
async def test_a_piece_behind_an_answer_changes_no_other(piece: bytes):
    async with server(first(says_and_goes_on(NUMBER + piece))) as there, client() as http:
        answers = [await answer_of(http, there.url) for _ in range(3)]
        assert answers in (["0", "0", "0"], ["0", "1", "1"])
    assert there.asked == 3


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_answer_with_more_body_than_it_says_is_none(method: str):
    async with server(first(says_and_goes_on(NUMBER + b"evil"))) as there, client() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.request(method, there.url)
        assert await answer_of(http, there.url) == "1"


LAST = {
    "it says that it closes": OK + b"Connection: close\r\nContent-Length: 1\r\n\r\n0",
    "it is old": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n0",
}


@pytest.mark.parametrize("answer", LAST.values(), ids=LAST)
async def test_a_connection_with_a_last_answer_is_not_used_again(answer: bytes):
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(answer)
        await line.ended()

    async with server(first(talk)) as there, client() as http:
        assert [await answer_of(http, there.url) for _ in range(2)] == ["0", "1"]
    assert [line.heads != [] for line in there.lines] == [True, True]


@pytest.mark.parametrize("read", [False, True], ids=["unread", "begun"])
async def test_a_connection_whose_answer_was_given_up_is_not_used_again(read: bool):
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 50\r\n\r\n0")
        await line.ended()

    async with server(first(talk)) as there, client() as http:
        async with http.stream("GET", there.url) as answer:
            if read:
                assert await anext(answer.aiter_raw()) == b"0"
        assert await answer_of(http, there.url) == "1"


async def test_a_connection_is_only_for_the_name_that_it_was_made_for():
    async with server(friendly) as there, client(resolve=resolving("127.0.0.1")) as http:
        names = ("a.example", "b.example", "a.example", "127.0.0.1")
        answers = [await answer_of(http, f"http://{name}:{there.port}/") for name in names]
    assert answers == ["0", "1", "0", "2"]


async def resets(line: Line) -> None:
    line.reset()


async def resets_within(line: Line) -> None:
    await line.say(OK + b"Content-Length: 9\r\n\r\n0")
    await asyncio.sleep(0.01)
    line.reset()


def says(answer: bytes) -> Talk:
    async def talk(line: Line) -> None:
        await line.say(answer)

    return talk


async def waits(line: Line) -> None:
    await line.ended()


BREAKS: dict[str, tuple[Talk, tuple[type[httpx.TransportError], ...]]] = {
    "resets": (resets, (httpx.ReadError, httpx.RemoteProtocolError)),
    "resets within its answer": (resets_within, BROKEN),
    "closes": (says(b""), (httpx.RemoteProtocolError, httpx.ReadError)),
    "half a head": (says(OK + b"Content-Le"), BROKEN),
    "half a body": (says(OK + b"Content-Length: 9\r\n\r\n0"), BROKEN),
    "half a chunk": (says(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\n0"), BROKEN),
    "no last chunk": (says(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n"), BROKEN),
    "garbage": (says(b"\0\xff garbage\r\n\r\n"), (httpx.RemoteProtocolError,)),
    "HTTP/0.9": (says(b"<html>Hello</html>\r\n"), (httpx.RemoteProtocolError,)),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), (httpx.RemoteProtocolError,)),
    "goes on in another protocol": (
        says(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + EVIL),
        BROKEN,
    ),
    "only news": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), BROKEN),
    "waits": (waits, (httpx.ReadTimeout,)),
}


@pytest.mark.parametrize("kept", [False, True], ids=["at first", "later"])
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("how", BREAKS)
async def test_a_request_is_sent_once_whatever_breaks(how: str, method: str, kept: bool):
    breaks, errors = BREAKS[how]

    async def talk(line: Line) -> None:
        if kept:
            await line.hear()
            await line.say(NUMBER)
        await line.hear()
        await breaks(line)

    seconds = 0.3 if how == "waits" else 5
    content = b"a" * 9 if method == "POST" else None
    async with server(first(talk)) as there, client() as http:
        if kept:
            assert await answer_of(http, there.url) == "0"
        with pytest.raises(httpx.TransportError) as failed:
            await http.request(method, there.url, content=content, timeout=seconds)
        assert isinstance(failed.value, errors)
        assert there.asked == 1 + kept
        assert await answer_of(http, there.url) == "1"  # and the next one finds the way
    assert there.asked == 2 + kept


async def test_who_hangs_up_before_it_was_asked_may_have_been_sent_something():
    async def talk(line: Line) -> None:
        line.reset()

    async with server(talk) as there, client() as http:
        with pytest.raises(httpx.TransportError) as failed:
            await http.post(there.url, content=b"a" * 3_000_000)
    assert isinstance(failed.value, (*BROKEN, httpx.WriteError))


async def test_who_does_not_read_what_it_is_sent_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch,
):
    begun: list[asyncio.Transport] = []
    begin = Connection.connection_made

    def noted(line: Connection, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        begun.append(transport)
        begin(line, transport)

    async def talk(line: Line) -> None:
        line.pause()
        await over.wait()

    monkeypatch.setattr(Connection, "connection_made", noted)
    over = asyncio.Event()
    async with server(talk) as there, client() as http:
        request = asyncio.create_task(http.post(there.url, content=b"a" * 20_000_000))
        while not (begun and begun[0].get_write_buffer_size()):
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.sleep(0)  # for the event loop to close it
        assert begun[0].get_extra_info("socket").fileno() == -1
        over.set()


async def test_who_reads_an_answer_is_told_at_once_that_its_connection_was_closed():
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 9\r\n\r\n0")
        await line.ended()

    async with (
        server(talk) as there,
        client() as http,
        asyncio.timeout(2),
        http.stream("GET", there.url) as answer,
    ):
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"0"
        await http.aclose()
        with pytest.raises(BROKEN):
            await anext(pieces)


async def no_answer(host: str, port: int) -> list[str]:
    await asyncio.Event().wait()
    return []


async def no_name(host: str, port: int) -> list[str]:
    raise OSError("no such name")


@pytest.mark.parametrize(
    ("resolve", "error"),
    [
        (resolving("127.0.0.1"), httpx.ConnectError),
        (resolving("127.0.0.1", "127.0.0.2"), httpx.ConnectError),
        (resolving(), httpx.ConnectError),
        (no_name, httpx.ConnectError),
        (no_answer, httpx.ConnectTimeout),
    ],
    ids=["refused", "refused twice", "no address", "no name", "no answer"],
)
async def test_where_nothing_was_sent_the_error_says_so(
    resolve: Resolve, error: type[httpx.TransportError]
):
    async with server(friendly) as gone:
        pass
    async with client(0.15 if resolve is no_answer else 5, resolve=resolve) as http:
        with pytest.raises(error):
            await answer_of(http, f"http://shop.example:{gone.port}/")


@pytest.mark.parametrize(
    "header",
    [("apikey", "se\r\ncret"), ("apikey", "secret\0"), ("se\ncret", "a"), ("se cret", "a")],
)
async def test_for_a_header_that_is_none_nobody_is_even_connected_to(header: tuple[str, str]):
    async with server(friendly) as there, client() as http:
        with pytest.raises(httpx.LocalProtocolError) as failed:
            await http.post(there.url, headers=[header])
    assert "cret" not in f"{failed.value} {failed.value.__cause__}"
    assert there.lines == []


async def test_a_line_of_a_head_may_be_long():
    answer = OK + b"Policy: " + b"a" * 12_000 + b"\r\nContent-Length: 1\r\n\r\n0"
    async with server(says_and_goes_on(answer)) as there, client() as http:
        assert [await answer_of(http, there.url) for _ in range(2)] == ["0", "0"]


async def test_an_answer_before_the_whole_request_was_read_is_read():
    async def talk(line: Line) -> None:
        await line.hear_head()
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\ntoo")
        await line.ended()

    async with server(talk) as there, client() as http:
        answer = await http.post(there.url, content=b"a" * 3_000_000)
    assert (answer.status_code, answer.text) == (413, "too")


async def test_who_answers_early_and_reads_no_more_keeps_nobody():
    async def talk(line: Line) -> None:
        await line.hear_head()
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\ntoo")
        await asyncio.Event().wait()

    async with server(first(talk)) as there, client() as http:
        try:
            answer = await http.post(there.url, content=LARGE, timeout=0.5)
            assert (answer.status_code, answer.text) == (413, "too")
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            assert there.asked == 1
        assert await answer_of(http, there.url) == "1"
    assert there.asked == 2


async def kept_waiting(line: Line) -> None:
    if b"/quick" in await line.hear():
        await line.say(NUMBER)
    elif b"/body" in line.heads[-1]:
        await line.say(OK + b"Content-Length: 9\r\n\r\n0")
    await line.ended()


async def deaf(line: Line) -> None:
    await line.hear_head()
    if b"/quick" in line.heads[-1]:
        await line.say(NUMBER)
    await asyncio.Event().wait()


PHASES: dict[str, tuple[Talk, str, bytes]] = {
    "it looks for the name": (kept_waiting, "http://lost.example:PORT/", b""),
    "it sends": (deaf, "http://127.0.0.1:PORT/", LARGE),
    "it waits for the answer": (kept_waiting, "http://127.0.0.1:PORT/", b""),
    "it reads the answer": (kept_waiting, "http://127.0.0.1:PORT/body", b""),
}


async def without_lost(host: str, port: int) -> list[str]:
    return ["127.0.0.1"] if host != "lost.example" else await no_answer(host, port)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_request_leaves_its_place_and_no_connection(phase: str):
    talk, url, content = PHASES[phase]
    transport = CheckedTransport(HERE, without_lost, limit=4)
    async with server(talk) as there, client_over(transport, 5) as http:
        for _ in range(2):
            asks = [
                asyncio.create_task(
                    http.post(url.replace("PORT", str(there.port)), content=content)
                )
                for _ in range(4)
            ]
            await asyncio.sleep(0.03)
            assert transport.in_flight == 4
            for ask in asks:
                ask.cancel()
            ended = await asyncio.gather(*asks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended)
            assert (transport.in_flight, transport.is_exhausted) == (0, False)
        gone = [line.gone.wait() for line in there.lines] if talk is not deaf else []
        await asyncio.gather(*gone)
        answers = await asyncio.gather(*(answer_of(http, f"{there.url}quick") for _ in range(4)))
        assert answers == ["0"] * 4
        assert transport.in_flight == 0


async def test_a_request_may_be_cancelled_at_any_moment():
    transport = CheckedTransport(HERE, limit=2)
    async with server(friendly) as there, client_over(transport, 5) as http:
        for steps in range(40):
            ask = asyncio.create_task(answer_of(http, there.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            ask.cancel()
            await asyncio.gather(ask, return_exceptions=True)
            assert transport.in_flight == 0
        assert len(await asyncio.gather(*(answer_of(http, there.url) for _ in range(2)))) == 2


async def test_who_waits_for_a_connection_and_is_cancelled_leaves_nothing():
    transport = CheckedTransport(HERE, limit=1)
    async with server(friendly) as there, client_over(transport, 5) as http:
        async with http.stream("GET", there.url):
            waits = asyncio.create_task(answer_of(http, there.url))
            await asyncio.sleep(0.01)
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)
            assert (transport.in_flight, transport.is_exhausted) == (1, True)
        assert (transport.in_flight, transport.is_exhausted) == (0, False)
        assert await answer_of(http, there.url) in ("0", "1")


async def test_no_pool_of_tenants_keeps_a_connection():
    settings = load_settings({"ALLOWED_NETWORKS": "127.0.0.0/8"}, env_file=None)
    pools = TenantPools(settings, 8)
    clients = (pools.sends, pools.lookups, pools.repairs, pools.courtesy, pools.media, pools.senses)
    async with server(friendly) as there:
        for http in clients:
            assert await answer_of(http, there.url)
        assert not any(pools.exhausted())
        await pools.close()
        await asyncio.gather(*(line.gone.wait() for line in there.lines))
        assert len(there.lines) == len(clients)
