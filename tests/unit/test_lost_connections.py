"""A request that is cancelled, whenever that is, leaves no place held and no connection open."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx
import pytest

from loopback.evolution import Evolution
from router.configuration.addresses import Allowed
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from tests.scenarios.hostile import saying, server

HERE = Allowed.of(["127.0.0.0/8"])
_LONG = 1_000_000


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


class Client:
    """A client over the transport under test."""

    def __init__(self, limit: int) -> None:
        self.transport = CheckedTransport(HERE, limit=limit)
        self.http = client_over(self.transport, 5)
        self.http.timeout = httpx.Timeout(5, pool=0.05)


@pytest.fixture
async def some() -> AsyncIterator[Client]:
    client = Client(limit=8)
    async with client.http:
        yield client


@pytest.fixture
async def one() -> AsyncIterator[Client]:
    client = Client(limit=1)
    async with client.http:
        yield client


async def test_a_pool_is_exhausted_while_requests_hold_all_of_it(one: Client, evolution: Evolution):
    async with one.http.stream("GET", evolution.url):
        assert one.transport.is_exhausted
        assert one.transport.in_flight == 1
        with pytest.raises(httpx.PoolTimeout):
            await one.http.get(evolution.url)
    assert not one.transport.is_exhausted
    assert (await one.http.get(evolution.url)).status_code == 200


async def cancel_each_moment(some: Client, url: str) -> None:
    """Cancel a request after one step of the event loop, two, three and so on."""
    for steps in range(80):
        request = asyncio.create_task(some.http.get(url))
        for _ in range(steps):
            await asyncio.sleep(0)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request


async def test_cancelling_at_any_moment_leaves_no_place_held(some: Client, evolution: Evolution):
    await cancel_each_moment(some, evolution.url)
    assert some.transport.in_flight == 0
    answers = await asyncio.gather(*(some.http.get(evolution.url) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}


async def test_cancelling_while_a_long_answer_is_read_leaves_no_place_held(some: Client):
    async with server(saying(b"Content-Length: %d" % _LONG, b"a" * _LONG)) as url:
        await cancel_each_moment(some, url)
        assert some.transport.in_flight == 0
        assert len((await some.http.get(url)).content) == _LONG


async def test_what_was_cancelled_leaves_no_connection_open(some: Client, evolution: Evolution):
    await cancel_each_moment(some, evolution.url)
    await some.http.aclose()
    await asyncio.sleep(0)
    gc.collect()  # a connection that nobody closed is an error of the tests
