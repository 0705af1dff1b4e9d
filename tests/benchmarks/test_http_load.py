"""What the load counts is what was answered, however many connections count at once."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks import serving
from benchmarks.http_load import Load, run_load
from loopback import connections
from loopback.receiver import WebhookReceiver

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    """Serve HTTP as `answer` does to each request, which are numbered."""
    numbers = itertools.count()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await answer(next(numbers), writer)

    async with connections.serving(connected) as port:
        yield f"http://127.0.0.1:{port}/webhook/bench"


def says(status: int) -> bytes:
    return f"HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\n{{}}".encode()


async def test_what_many_connections_count_at_once_adds_up():
    async def refuse_every_third(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)
        writer.write(says(429 if number % 3 == 0 else 200))

    async with server(refuse_every_third) as url:
        load = await run_load(url, "X: y", connections=30, total=600, contacts=10)
    assert load.answers == {"200": 400, "429": 200}
    assert load.taken == 400
    assert load.told() == "were answered with 429 (200)"


async def test_a_connection_that_is_cut_loses_its_request_and_no_other():
    async def cut_every_fifth(number: int, writer: asyncio.StreamWriter) -> None:
        if number % 5 == 0:
            writer.transport.abort()
            raise ConnectionResetError
        writer.write(says(200))

    async with server(cut_every_fifth) as url:
        load = await run_load(url, "X: y", connections=7, total=100, contacts=10)
    assert load.answers == {"200": 80, "lost": 20}
    assert load.told() == "got no answer (20)"


async def test_a_server_that_is_not_there_loses_all():
    async def never(number: int, writer: asyncio.StreamWriter) -> None:
        raise AssertionError(number)

    async with server(never) as url:
        pass
    load = await run_load(url, "X: y", connections=3, total=10, contacts=10)
    assert load.answers == {"lost": 10}


def test_a_load_of_which_one_is_refused_ends_the_benchmark_with_words():
    with WebhookReceiver() as receiver:
        receiver.statuses = [200, 429, 503]
        with pytest.raises(SystemExit) as ended:
            serving.load(f"{receiver.url}/webhook/bench", "X: y", connections=1, total=5)
    said = str(ended.value)
    assert said.startswith("2 of 5 webhooks were answered with 429 (1), were answered with 503 (1)")


def test_a_load_that_is_taken_comes_back_as_it_was_counted():
    with WebhookReceiver() as receiver:
        load = serving.load(f"{receiver.url}/webhook/bench", "X: y", connections=2, total=6)
        bodies = [received.body for received in receiver.received]
    assert isinstance(load, Load)
    assert (load.taken, load.requests, load.answers) == (6, 6, {"200": 6})
    ids = {json.dumps(body["data"]["key"]) for body in bodies}
    assert len(ids) == 6
