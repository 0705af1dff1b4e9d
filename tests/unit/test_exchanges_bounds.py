"""No server holds an exchange up, makes it large, or has a malformed answer taken for one."""

import asyncio
import gzip
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import httpx
import pytest
import uvloop

from router.outbound.bounds import (
    LONGEST_ANSWER,
    AnswerTooLong,
    NotBegunInTime,
    NotHeardInTime,
)
from router.outbound.line import Line as OurLine
from router.outbound.transport import HAS_BEGUN
from tests.exchanges import OK, Line, Talk, client, clock_of, first, friendly, server
from tests.for_each import for_each

CLOSES = OK + b"Connection: close\r\n"
CHUNKED = CLOSES + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN = (httpx.ReadError, httpx.RemoteProtocolError)
IN_TIME = 0.3


def trickling(begin: bytes, piece: bytes) -> Talk:
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(begin)
        while True:
            await line.say(piece)
            await asyncio.sleep(0.05)

    return talk


async def silent(line: Line) -> None:
    await line.hear()
    await line.ended()


async def deaf(line: Line) -> None:
    await line.hear_head()
    await asyncio.Event().wait()


async def hard_of_hearing(line: Line) -> None:
    await line.hear_head()
    while True:
        await line.hear_some()
        await asyncio.sleep(0.05)


SLOW = {
    "nothing": silent,
    "a body": trickling(OK + b"Content-Length: 99\r\n\r\n", b"a"),
    "a body to the end": trickling(OK + b"\r\n", b"a"),
    "chunks": trickling(CHUNKED, b"1\r\na\r\n"),
    "one chunk": trickling(CHUNKED + b"99\r\n", b"a"),
    "a chunk's extension": trickling(CHUNKED + b"1;", b"a"),
    "trailers": trickling(CHUNKED + b"0\r\n", b"A: b\r\n"),
    "a head": trickling(OK + b"A: ", b"a"),
    "a first line": trickling(b"HTTP/1.1 200 ", b"a"),
    "news": trickling(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "what is packed, and is nothing": trickling(
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"
    ),
    "it does not listen": deaf,
    "it listens slowly": hard_of_hearing,
}


async def test_an_exchange_has_a_time_as_a_whole():
    large = b"a" * 16_000_000  # more than the line holds

    async def ask(how: str) -> None:
        async with server(SLOW[how]) as there, client(IN_TIME) as http:
            began = time.monotonic()
            try:
                with pytest.raises(httpx.TimeoutException) as failed:
                    await http.post(there.url, content=large if "listen" in how else b"a")
                # A busy machine may not even come to connect within the time.
                assert not (there.asked and isinstance(failed.value, httpx.ConnectTimeout))
                assert time.monotonic() - began < 10 * IN_TIME
            except BaseException as error:
                error.add_note(f"where it says slowly: {how}")
                raise
        assert there.asked <= 1

    await asyncio.gather(*map(ask, SLOW))


@contextmanager
def full() -> Iterator[str]:
    """Give the address of a server that takes no more connections, and refuses none."""
    with ExitStack() as stack:
        listens = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            fills = stack.enter_context(socket.socket())
            fills.setblocking(False)
            fills.connect_ex(listens.getsockname())
        yield f"http://127.0.0.1:{listens.getsockname()[1]}/"


async def test_a_connection_that_is_never_made_is_given_up_and_nothing_was_sent():
    with full() as url:
        async with client(IN_TIME) as http:
            with pytest.raises(httpx.ConnectTimeout):
                await http.post(url, json={})


def says(answer: bytes) -> Talk:
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(answer)

    return talk


def plain(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


LONG = b"a" * (LONGEST_ANSWER + 1)
MANY = 10_000
TOO_LONG = {
    "a body": CLOSES + plain(LONG),
    "a body to the end": CLOSES + b"\r\n" + LONG,
    "chunks": CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(LONG), LONG),
    "what unpacks to more": CLOSES + b"Content-Encoding: gzip\r\n" + plain(gzip.compress(LONG, 1)),
}
TOO_MUCH = {
    **TOO_LONG,
    "lines of a head": CLOSES + b"".join(b"X-%d: a\r\n" % each for each in range(MANY)),
    "a long line of a head": CLOSES + b"X: " + b"a" * 1_000_000,
    "a long first line": b"HTTP/1.1 200 " + b"a" * 1_000_000,
    "empty lines": b"\r\n" * MANY * 10,
    "news": b"HTTP/1.1 102 Processing\r\n\r\n" * MANY,
    "small chunks": CHUNKED + b"1\r\na\r\n" * MANY,
    "small chunks with extensions": CHUNKED + b"1;abc=defghijklm\r\na\r\n" * MANY,
    "a long extension": CHUNKED + b"1;" + b"a" * 1_000_000,
    "a long size of a chunk": CHUNKED + b"0" * 1_000_000,
    "trailers": CHUNKED + b"0\r\n" + b"X: a\r\n" * MANY,
    "a long trailer": CHUNKED + b"0\r\nX: " + b"a" * 1_000_000,
}


@for_each("how", TOO_MUCH)
async def test_an_answer_has_a_longest_length(how: str):
    async with server(says(TOO_MUCH[how])) as there, client() as http:
        with pytest.raises(AnswerTooLong if how in TOO_LONG else BROKEN):
            await http.post(there.url, content=b"a")
    assert there.asked == 1


LENGTH = CLOSES + b"Content-Length: "
MALFORMED = {
    "longer than it is": LENGTH + b"3\r\n\r\nok",
    "negative": LENGTH + b"-2\r\n\r\nok",
    "with a sign": LENGTH + b"+2\r\n\r\nok",
    "hexadecimal": LENGTH + b"0x2\r\n\r\nok",
    "no number": LENGTH + b"two\r\n\r\nok",
    "empty": LENGTH + b"\r\n\r\nok",
    "huge": LENGTH + b"9" * 30 + b"\r\n\r\nok",
    "two lengths": LENGTH + b"2\r\nContent-Length: 1\r\n\r\nok",
    "two lengths in a line": LENGTH + b"2, 1\r\n\r\nok",
    "a chunk of negative size": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "a chunk of huge size": CHUNKED + b"f" * 19 + b"\r\nok\r\n0\r\n\r\n",
    "a line without a colon": CLOSES + b"Something\r\n\r\nok",
    "a line without a name": CLOSES + b": value\r\n\r\nok",
    "a line with a null": CLOSES + b"X: a\0b\r\n\r\nok",
    "a line with CR": CLOSES + b"X: a\rSet-Cookie: b\r\n\r\nok",
    "another name": b"HTTQ/1.1 200 OK\r\n\r\nok",
    "no status": b"HTTP/1.1 OK\r\n\r\nok",
    "a short status": b"HTTP/1.1 20 OK\r\n\r\nok",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\nok",
}


@for_each("how", MALFORMED)
async def test_what_is_no_answer_is_an_error(how: str):
    async with server(says(MALFORMED[how])) as there, client() as http:
        with pytest.raises(BROKEN):
            await http.post(there.url, content=b"a")
    assert there.asked == 1


PACKED = gzip.compress(b"ok")
READ = {
    "a length": CLOSES + plain(b"ok"),
    "no length": CLOSES + b"\r\nok",
    "chunks": CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    "chunks with extensions": CHUNKED + b'1;a\r\no\r\n1;b="c"\r\nk\r\n0;d\r\n\r\n',
    "chunks and trailers": CHUNKED + b"2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n",
    "news before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-Late: 1\r\n\r\n"
    + CLOSES + plain(b"ok"),
    "no reason": b"HTTP/1.1 200\r\nConnection: close\r\n" + plain(b"ok"),
    "an old version": b"HTTP/1.0 200 OK\r\n\r\nok",
    "what is packed": CLOSES + b"Content-Encoding: gzip\r\n" + plain(PACKED),
    "what is packed, by its old name": CLOSES + b"Content-Encoding: x-gzip\r\n" + plain(PACKED),
    "what is packed in chunks": CLOSES + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n" + b"".join(b"1\r\n%b\r\n" % bytes([each]) for each in PACKED) + b"0\r\n\r\n",
}  # fmt: skip


@for_each("how", READ)
async def test_what_is_an_answer_is_read(how: str):
    async with server(says(READ[how])) as there, client() as http:
        answer = await http.post(there.url, content=b"a")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert not {"x-late", "content-encoding"} & set(answer.headers)


async def test_the_longest_answer_is_read():
    async with server(says(CLOSES + plain(LONG[1:]))) as there, client() as http:
        assert (await http.post(there.url, content=b"a")).content == LONG[1:]


@pytest.mark.parametrize("size", [8000, 12_000])
async def test_a_long_line_of_a_head_is_read(size: int):
    head = CLOSES + b"X-Long: %b\r\n" % LONG[:size]
    async with server(says(head + plain(b"ok"))) as there, client() as http:
        answer = await http.get(there.url)
    assert len(answer.headers["x-long"]) == size


async def test_of_length_and_chunks_the_chunks_count_or_none():
    both = OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    async with server(says(both)) as there, client() as http:
        try:
            said = (await http.post(there.url, content=b"a")).content
        except httpx.RemoteProtocolError:
            said = b"ok"
    assert said == b"ok"


@for_each("head", [b"204 No Content\r\n", b"304 Not Modified\r\nContent-Length: 9\r\n"])
async def test_an_answer_without_a_body_is_not_waited_for(head: bytes):
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.1 " + head + b"\r\n")
        await friendly(line)

    async with server(talk) as there, client() as http:
        assert (await http.post(there.url, json={})).content == b""
        assert (await http.post(there.url, json={})).text == "0"


async def test_the_answer_to_head_has_a_length_and_no_body():
    async def talk(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 9\r\n\r\n")
        await friendly(line)

    async with server(talk) as there, client() as http:
        answer = await http.head(there.url)
        assert (answer.headers["content-length"], answer.content) == ("9", b"")
        assert (await http.post(there.url, json={})).text == "0"


async def test_the_lines_of_a_head_come_as_they_are():
    head = b"Set-Cookie: a=1\r\nX-Name:  S\xe3o \r\nset-cookie: b=2\r\nX-Empty:\r\n"
    async with server(says(CLOSES + head + plain(b"ok"))) as there, client() as http:
        answer = await http.get(there.url)
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (answer.headers["x-name"], answer.headers["x-empty"]) == ("São", "")


def eagerly(writing: Coroutine[object, None, None]) -> asyncio.Future[None]:
    """Begin at once, as aiohttp's tasks do from Python 3.12 on."""
    done = asyncio.get_running_loop().create_future()
    with suppress(StopIteration):
        writing.send(None)
    done.set_result(None)
    return done


@pytest.mark.parametrize("text", ["oi", "o" * 600_000], ids=["a small body", "a large one"])
@pytest.mark.parametrize("begin", [asyncio.create_task, eagerly], ids=["in a task", "eagerly"])
@pytest.mark.parametrize("before", [0, 1], ids=["a new connection", "a kept connection"])
async def test_a_process_that_stood_still_does_not_begin_too_late(
    before: int, begin: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state may have judged meanwhile that it was not sent, and sent it again."""
    has_connection = OurLine.set_response_params

    def stand_still(line: OurLine, **given: object) -> None:
        has_connection(line, **given)
        time.sleep(IN_TIME + 0.1)

    async with server(friendly) as there, client() as http:
        for _ in range(before):
            await http.post(there.url, json={"text": "oi"})
        monkeypatch.setattr(OurLine, "set_response_params", stand_still)
        own_asyncio = SimpleNamespace(**{**vars(asyncio), "create_task": begin})
        monkeypatch.setattr("aiohttp.client_reqrep.asyncio", own_asyncio)
        request = http.build_request("POST", there.url, json={"text": text})
        request.extensions["begin_by"] = time.monotonic() + IN_TIME
        with pytest.raises(NotBegunInTime):
            await http.send(request)
        monkeypatch.undo()
        await http.post(there.url, json={"text": "after it"})
    assert there.asked == before + 1


@pytest.mark.parametrize("begins_by", [True, False])
async def test_a_connection_that_a_standstill_kept_from_opening_says_nothing_about_the_server(
    begins_by: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stood_still = clock_of(monkeypatch)

    async def resolve(host: str, port: int) -> list[str]:
        stood_still(60)
        await asyncio.Event().wait()
        return []

    async with client(resolve=resolve) as http:
        request = http.build_request("POST", "http://n8n.example/", json={})
        if begins_by:
            request.extensions["begin_by"] = time.monotonic() + 30
        with pytest.raises(httpx.ConnectTimeout) as failed:
            await http.send(request)
    assert type(failed.value) is (NotBegunInTime if begins_by else httpx.ConnectTimeout)


async def test_a_place_that_a_standstill_kept_from_becoming_free_says_nothing_about_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stood_still, is_asked = clock_of(monkeypatch), asyncio.Event()

    async def busy(line: Line) -> None:
        await line.hear()
        is_asked.set()
        await line.ended()

    async with server(busy) as there, client(seconds=600, limit=1) as http:
        one = asyncio.create_task(http.post(there.url, json={}))
        await is_asked.wait()
        request = http.build_request("POST", there.url, json={})
        request.extensions["begin_by"] = time.monotonic() + 30
        other = asyncio.create_task(http.send(request))
        await asyncio.sleep(0)
        stood_still(60)
        with pytest.raises(NotBegunInTime):
            await other
        one.cancel()
        await asyncio.wait([one])


@pytest.mark.parametrize("stands_still", [60, 0])
async def test_an_answer_that_a_standstill_kept_from_being_heard_says_nothing_about_the_server(
    stands_still: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stood_still = clock_of(monkeypatch)

    async def answer(line: Line) -> None:
        await line.hear()
        stood_still(stands_still)
        await line.ended()

    async with server(answer) as there, client(seconds=0.3 if not stands_still else 30) as http:
        with pytest.raises(httpx.ReadTimeout) as failed:
            await http.post(there.url, json={})
    assert isinstance(failed.value, NotHeardInTime) is bool(stands_still)


@pytest.mark.parametrize(
    ("body", "begin"),
    [(b"oi", asyncio.create_task), (b"oi", eagerly), (b"o" * 600_000, asyncio.create_task)],
    ids=["in a task", "eagerly", "a large body"],
)
async def test_nothing_is_written_to_a_server_that_has_gone_since_the_connection_was_chosen(
    body: bytes, begin: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send would be in doubt, and a turn with a flow, although nobody can have got it."""
    has_connection = OurLine.set_response_params

    async def says_one_thing(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 0\r\n\r\n")
        await line.ended()

    def goes(line: OurLine, **given: object) -> None:
        has_connection(line, **given)
        if len(there.lines) == 1:
            there.lines[0].shut()

    async with server(first(says_one_thing)) as there, client() as http:
        await http.post(there.url, content=body)
        monkeypatch.setattr(OurLine, "set_response_params", goes)
        own_asyncio = SimpleNamespace(**{**vars(asyncio), "create_task": begin})
        monkeypatch.setattr("aiohttp.client_reqrep.asyncio", own_asyncio)
        assert (await http.post(there.url, content=body)).text == "1"
    assert [len(line.heads) for line in there.lines] == [1, 1]


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize(
    "says", [CLOSES + b"\r\n", OK + b"Content-Length: 0\r\n\r\n"], ids=["closes", "stays"]
)
def test_what_a_server_says_before_it_is_asked_is_no_answer(
    says: bytes, new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some say that nobody has asked for long, and close: a loop may hear that before it writes."""
    has_connection = OurLine.set_response_params

    async def says_one_thing(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 0\r\n\r\n")
        await line.ended()

    async def ask() -> None:
        def goes(line: OurLine, **given: object) -> None:
            has_connection(line, **given)
            if len(there.lines) == 1:
                there.lines[0].say_now(says)

        async with server(first(says_one_thing)) as there, client() as http:
            await http.post(there.url, content=b"oi")
            monkeypatch.setattr(OurLine, "set_response_params", goes)
            assert (await http.post(there.url, content=b"oi")).text == "1"
        assert [len(line.heads) for line in there.lines] == [1, 1]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(ask())


async def test_a_server_that_has_gone_for_good_got_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    has_connection = OurLine.set_response_params

    async def says_one_thing(line: Line) -> None:
        await line.hear()
        await line.say(OK + b"Content-Length: 0\r\n\r\n")
        await line.ended()

    def goes(line: OurLine, **given: object) -> None:
        has_connection(line, **given)
        there.lines[0].shut()

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if not there.lines else []

    async with server(says_one_thing) as there, client(resolve=resolve) as http:
        url = f"http://n8n.example:{there.port}/"
        await http.post(url, content=b"oi")
        monkeypatch.setattr(OurLine, "set_response_params", goes)
        request = http.build_request("POST", url, content=b"oi")
        with pytest.raises(httpx.ConnectError):
            await http.send(request)
    assert request.extensions[HAS_BEGUN] is False
    assert there.asked == 1


async def test_what_began_in_time_may_take_longer() -> None:
    async def pause(line: Line) -> None:
        await line.hear()
        await asyncio.sleep(IN_TIME + 0.1)
        await line.say(OK + b"Content-Length: 0\r\n\r\n")

    async with server(pause) as there, client() as http:
        request = http.build_request("POST", there.url, json={"text": "oi"})
        request.extensions["begin_by"] = time.monotonic() + IN_TIME
        assert (await http.send(request)).status_code == 200
