"""httpcore loses connections of requests that are cancelled; the pool notices, and is replaced."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpcore
import httpx
import pytest

from loopback.evolution import Evolution
from router.configuration.addresses import Allowed
from router.outbound.checked import CheckedTransport
from router.outbound.healing import HealingTransport
from router.outbound.own import open_own_http

HERE = Allowed.of(["127.0.0.0/8"])


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


def pool_of(http: httpx.AsyncClient) -> httpcore.AsyncConnectionPool:
    transport = http._transport
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    pool = transport._pool
    assert isinstance(pool, httpcore.AsyncConnectionPool)
    return pool


async def lose_a_connection(http: httpx.AsyncClient, url: str) -> None:
    """Cancel a request while an idle connection, too old by now, is closed to make it a place."""
    await http.get(url)
    for connection in pool_of(http).connections:
        if connection.is_idle():
            connection._connection._expire_at = 0  # type: ignore[attr-defined]
    request = asyncio.create_task(http.get(url))
    await asyncio.sleep(0)
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request


async def test_httpcore_itself_keeps_a_connection_that_nobody_will_ever_use(evolution: Evolution):
    """When this fails, httpcore was repaired, and the replacing of pools may go."""
    async with httpx.AsyncClient() as http:
        await lose_a_connection(http, evolution.url)
        (lost,) = pool_of(http).connections
        assert not lost.is_idle()
        assert not lost.is_closed()
        assert not lost.has_expired()


class Client:
    """A client of the pool under test."""

    def __init__(self, limit: int) -> None:
        self.transport = CheckedTransport(HERE, limit=limit)
        self.http = httpx.AsyncClient(transport=self.transport, timeout=httpx.Timeout(5, pool=0.05))


@pytest.fixture
async def large() -> AsyncIterator[Client]:
    client = Client(limit=8)
    async with client.http:
        yield client


@pytest.fixture
async def tiny() -> AsyncIterator[Client]:
    client = Client(limit=1)
    async with client.http:
        yield client


async def test_one_lost_connection_of_many_is_borne(large: Client, evolution: Evolution):
    await lose_a_connection(large.http, evolution.url)
    assert large.transport.replaced == 0


async def test_a_pool_that_has_lost_a_fourth_is_replaced(large: Client, evolution: Evolution):
    for _ in range(2):
        await lose_a_connection(large.http, evolution.url)
    assert large.transport.replaced == 1
    assert not large.transport.is_exhausted
    assert (await large.http.get(evolution.url)).status_code == 200


async def test_however_many_are_cancelled_the_next_request_finds_a_connection(
    large: Client, evolution: Evolution
):
    for _ in range(100):
        await lose_a_connection(large.http, evolution.url)
    assert (await large.http.get(evolution.url)).status_code == 200
    assert large.transport.in_flight == 0


async def test_a_request_under_way_ends_well_though_its_pool_is_replaced(
    large: Client, evolution: Evolution
):
    async with large.http.stream("GET", evolution.url) as under_way:
        for _ in range(2):
            await lose_a_connection(large.http, evolution.url)
        assert large.transport.replaced == 1
        assert await under_way.aread()
    assert large.transport._under_way == {large.transport._pool: 0}


async def test_a_pool_is_exhausted_while_requests_hold_all_of_it(
    tiny: Client, evolution: Evolution
):
    async with tiny.http.stream("GET", evolution.url):
        assert tiny.transport.is_exhausted
        assert tiny.transport.in_flight == 1
        with pytest.raises(httpx.PoolTimeout):
            await tiny.http.get(evolution.url)
        assert tiny.transport.replaced == 0
    assert not tiny.transport.is_exhausted
    assert (await tiny.http.get(evolution.url)).status_code == 200


async def test_a_request_that_waits_in_vain_for_lost_connections_goes_to_a_fresh_pool(
    large: Client, evolution: Evolution, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("router.outbound.healing._LOST_SHARE", 0)  # no other way to be replaced
    for _ in range(7):
        await lose_a_connection(large.http, evolution.url)
    async with large.http.stream("GET", evolution.url) as under_way:
        assert large.transport.is_exhausted
        assert (await large.http.get(evolution.url)).status_code == 200
        assert large.transport.replaced == 1
        assert not large.transport.is_exhausted
        assert await under_way.aread()


async def test_cancelling_many_at_any_moment_leaves_no_count_behind(
    large: Client, evolution: Evolution
):
    for steps in range(60):
        request = asyncio.create_task(large.http.get(evolution.url))
        for _ in range(steps):
            await asyncio.sleep(0)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
    assert large.transport.in_flight == 0
    assert not large.transport.is_exhausted
    assert (await large.http.get(evolution.url)).status_code == 200


async def test_the_pool_for_the_deployments_own_services_heals_as_well(evolution: Evolution):
    async with open_own_http(5) as http:
        transport = http._transport
        assert isinstance(transport, HealingTransport)
        transport.limit = 8
        for _ in range(20):
            await lose_a_connection(http, evolution.url)
        assert transport.replaced > 0
        assert (await http.get(evolution.url)).status_code == 200
        assert transport.in_flight == 0
