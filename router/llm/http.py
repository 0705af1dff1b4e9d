"""The HTTP client for the LLMs' SDKs: with limits, over aiohttp's connections.

Only the code that loads an SDK, in its thread, may import this, because it imports httpx2, which
belongs to the SDKs.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aiohttp
import httpx
import httpx2

from router.outbound.bounds import ENCODINGS, LONGEST_ANSWER, Bounds, as_it_is, unpacking
from router.outbound.exchange import FAILURES, Exchanges, next_piece
from router.outbound.own import any_address, names_proxies

_LONGEST_EXCHANGE = 600.0  # seconds, if a request sets no time-out


def open_http(timeout: float) -> httpx2.AsyncClient | None:
    """Return the client, or None if the environment names proxies: the SDK's own client uses them.

    `timeout` is the limit of a whole exchange in seconds. The caller closes the client.
    """
    if names_proxies():
        return None
    return _Client(
        transport=_Transport(),
        timeout=timeout,
        headers={"Accept-Encoding": ENCODINGS},
        follow_redirects=True,
    )


class _Client(httpx2.AsyncClient):
    """Calls the transport directly, without httpx2's work for cookies and redirects.

    A redirect is rare: the request is then sent again by httpx2's own method.
    """

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **given: Any
    ) -> httpx2.Response:
        """Send the request. Raises httpx2.RequestError."""
        if given or self.is_closed:
            return await super().send(request, stream=stream, **given)
        response = await self._transport.handle_async_request(request)
        if response.has_redirect_location:  # the server has not processed the request
            await response.aclose()
            return await super().send(request, stream=stream)
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self) -> None:
        self._exchanges = Exchanges(any_address())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        times = request.extensions.get("timeout", {})
        bounds = Bounds.within(
            times.get("read") or _LONGEST_EXCHANGE, LONGEST_ANSWER, times.get("connect")
        )
        asked = await request.aread()
        try:
            answer = await self._exchanges.ask(
                request.method, str(request.url), request.headers.raw, asked, bounds
            )
        except (*FAILURES, httpx.ReadError) as error:
            raise _as_httpx2(error, request, is_sent=bounds.has_line) from error
        body = _Body(answer, bounds, request)
        response = httpx2.Response(
            answer.status, headers=answer.raw_headers, stream=body, request=request
        )
        try:
            body.unpack = unpacking(response.headers, bounds.longest)
        except httpx.DecodingError as error:
            await body.aclose()
            raise httpx2.DecodingError(str(error), request=request) from error
        return response

    async def aclose(self) -> None:
        await self._exchanges.close()


class _Body(httpx2.AsyncByteStream):
    def __init__(
        self, answer: aiohttp.ClientResponse, bounds: Bounds, request: httpx2.Request
    ) -> None:
        self.unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
        self._answer = answer
        self._bounds = bounds
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await next_piece(self._answer, self._bounds):
                for part in self.unpack(piece):
                    yield part
        except (*FAILURES, httpx.RequestError) as error:
            raise _as_httpx2(error, self._request, is_sent=True) from error

    async def aclose(self) -> None:
        self._bounds.end()
        self._answer.close()


def _as_httpx2(
    error: Exception, request: httpx2.Request, *, is_sent: bool
) -> httpx2.TransportError:
    """Return the failure as an error that the SDKs know; they do not show its text."""
    match error:
        case TimeoutError() if is_sent:
            return httpx2.ReadTimeout("the answer did not come in time", request=request)
        case TimeoutError():
            return httpx2.ConnectTimeout("it was not connected to in time", request=request)
        case _ if not is_sent:
            return httpx2.ConnectError(str(error), request=request)
    return httpx2.ReadError(type(error).__name__, request=request)
