"""The transport of every httpx client: with limits and shares, over aiohttp.

A server can delay only its own requests: an exchange has a deadline and a maximum response
(`bounds.py`), no tenant gets all connections (`router.sharing.shares`), and long responses are read
in slices, at a limited pace per tenant (`pace.py`).
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from time import monotonic

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver

from router.outbound.bounds import (
    LONGEST_ANSWER,
    SLICE,
    Bounds,
    NotBegunInTime,
    as_it_is,
    slept_through,
    unpacking,
)
from router.outbound.exchange import FAILURES, Exchanges, next_piece
from router.outbound.failures import as_httpx
from router.outbound.pace import Pace
from router.outbound.shortening import Shortening
from router.sharing.shares import SERVER, TENANT, Claims, Place, Shares

MOST_CONNECTIONS = 100
POOL_WAIT = 2.0
HAS_BEGUN = "has_begun"
"""The extension of a request that says whether it may have been sent. It is set while its caller
waits, so that a caller that is cancelled knows."""
_LONGEST_EXCHANGE = 60.0  # seconds, if a request sets no time-out
_REPEATS = 3  # an answer may be so many times as long as its request before it is paced

Claimed = Callable[[httpx.Request], Claims]


def by_tenant_and_server(request: httpx.Request) -> Claims:
    """Return the holders whose share is limited: the tenant, if it is named, and the server."""
    url = request.url
    claims: dict[object, float] = {("server", url.host, url.port): SERVER}
    if (tenant := request.extensions.get("tenant")) is not None:
        claims["tenant", tenant] = TENANT
    return claims


class BoundedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that keeps each exchange within bounds; its pool has size `limit`."""

    def __init__(
        self,
        resolver: AbstractResolver,
        *,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
        pace: Pace | None = None,
    ) -> None:
        """Several transports may share a `pace`; requests without a tenant are not paced."""
        self.limit = limit
        self._claimed = claimed
        self._shares = Shares(limit)
        self._pace = pace or Pace()
        self._exchanges = Exchanges(resolver)

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self.limit - self._shares.free

    @property
    def is_exhausted(self) -> bool:
        """Whether every connection is held, so that a request has to wait for one."""
        return self._shares.free <= 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make the request. Raises httpx.TransportError.

        After ConnectError, ConnectTimeout, PoolTimeout, LocalProtocolError and UnsupportedProtocol,
        nothing was sent. NotBegunInTime is a ConnectTimeout, too: the extension `begin_by` says by
        when (monotonic) a request with a body must begin.
        """
        times = request.extensions.get("timeout", {})
        place = await self._place(request, times.get("pool"))
        bounds = Bounds.within(
            times.get("read") or _LONGEST_EXCHANGE,
            request.extensions.get("longest", LONGEST_ANSWER),
            times.get("connect"),
            request.extensions.get("begin_by"),
        )
        steps = _Steps(bounds, self._pace, request)
        try:
            answer = await self._ask(request, bounds)
        except httpx.TransportError:
            place.give_back()
            await steps.count(b"")
            raise
        except BaseException:
            place.give_back()
            raise
        finally:
            request.extensions[HAS_BEGUN] = bounds.has_line
        body = _Body(answer, steps, place)
        try:
            await steps.count(b"")
            return _response(request, answer, body)
        except BaseException:
            await body.aclose()
            raise

    async def aclose(self) -> None:
        """Close all connections, also those that are in use."""
        await self._exchanges.close()

    async def _place(self, request: httpx.Request, patience: float | None) -> Place:
        wait = POOL_WAIT if patience is None else patience
        until = monotonic() + wait
        try:
            return await self._shares.take(self._claimed(request), wait)
        except TimeoutError as error:
            if "begin_by" in request.extensions and slept_through(until):
                raise NotBegunInTime(request) from error
            message = "as many connections are held as may be"
            raise httpx.PoolTimeout(message, request=request) from error

    async def _ask(self, request: httpx.Request, bounds: Bounds) -> aiohttp.ClientResponse:
        url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url
        try:
            return await self._exchanges.ask(
                request.method, str(url), request.headers.raw, _body(request), bounds
            )
        except Exception as error:
            if bounds.is_late:
                raise NotBegunInTime(request) from error
            if not isinstance(error, FAILURES):
                raise
            raise as_httpx(error, request, bounds) from error


def _body(request: httpx.Request) -> bytes | AsyncIterable[bytes]:
    try:
        return request.content
    except httpx.RequestNotRead:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - an AsyncClient's
        return request.stream


def _response(
    request: httpx.Request, answer: aiohttp.ClientResponse, body: "_Body"
) -> httpx.Response:
    """Return the response as httpx has it. Raises httpx.DecodingError."""
    response = httpx.Response(
        answer.status,
        headers=answer.raw_headers,
        stream=body,
        extensions={
            "http_version": b"HTTP/1.1",
            "reason_phrase": (answer.reason or "").encode("ascii", "ignore"),
        },
    )
    body.unpack = unpacking(response.headers, body.bounds.longest)
    if (kept := request.extensions.get("kept")) is not None:
        body.shorten = Shortening(kept).shorten
    return response


class _Steps:
    """Divides the reading of one response into steps, between which other work runs.

    A request never waits, because it follows the fence. If too much was read for a tenant, it waits
    for the response.
    """

    def __init__(self, bounds: Bounds, pace: Pace, request: httpx.Request) -> None:
        self.bounds = bounds
        self.request = request
        self._pace = pace
        self._tenant = request.extensions.get("tenant")
        # A response that repeats the request costs no more to read than the request cost to make.
        self._free = _REPEATS * int(request.headers.get("content-length", 0))
        self._work = 0

    async def count(self, piece: bytes) -> None:
        """Count a piece. Raises httpx.ReadTimeout if there is no time left for the next one."""
        self._work += self._pace.rate.weigh(piece) + self.bounds.work
        self.bounds.work = 0
        if self._work < SLICE:
            return
        counted = max(0, self._work - self._free)
        self._free = max(0, self._free - self._work)
        self._work = 0
        wait = 0.0 if self._tenant is None else self._pace.count(self._tenant, counted)
        left = self.bounds.left
        await asyncio.sleep(min(wait, left))
        if wait > left:
            raise httpx.ReadTimeout("more comes for this tenant than is read in the time")


class _Body(httpx.AsyncByteStream):
    """A response's body, unpacked; its place becomes free when it has been read or closed."""

    def __init__(self, answer: aiohttp.ClientResponse, steps: _Steps, place: Place) -> None:
        self.bounds = steps.bounds
        self.unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
        self.shorten: Callable[[bytes], bytes] = bytes
        self._answer = answer
        self._steps = steps
        self._place: Place | None = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._next():
            for part in self.unpack(piece):
                await self._steps.count(part)
                yield self.shorten(part)

    async def _next(self) -> bytes:
        try:
            return await next_piece(self._answer, self.bounds)
        except FAILURES as error:
            raise as_httpx(error, self._steps.request, self.bounds) from error

    async def aclose(self) -> None:
        self.bounds.end()
        self._answer.close()  # keeps the connection if the response was read to its end
        place, self._place = self._place, None
        if place is not None:
            place.give_back()
