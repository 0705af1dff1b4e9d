"""The HTTP clients: for addresses that tenants set, and for the deployment's own services.

A tenant's host is resolved once, each of its addresses is judged, and the connection is opened to a
judged address itself: a name that changes its mind in between (DNS rebinding) gains nothing. TLS
still checks the certificate for the name. Redirects are not followed, and proxies of the
environment are not used, for behind one it is the proxy that resolves the name.

Whoever answers can hold up nobody but itself: an exchange has a deadline as a whole and a longest
answer (`bounds.py`), and of the connections nobody has all (`shares.py`).

httpcore loses connections: who is cancelled between being given one and using it leaves it in the
pool for ever, held by nobody. Here the pool's connections are compared with the requests under
way, and a pool that has lost many is replaced.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

import anyio._backends._asyncio
import anyio.streams.stapled
import anyio.streams.tls  # noqa: F401 - anyio would load them within the first call
import httpcore
import httpx

from router.configuration.addresses import CURE, Allowed
from router.configuration.settings import Settings
from router.logs.events import Action, log_event
from router.outbound.bounds import (
    ENCODINGS,
    LONGEST_ANSWER,
    NO_CONNECTION,
    BoundedStream,
    Bounds,
    current,
    patience_left,
    unpacking,
)
from router.outbound.names import OneAtATime, Resolve, ask_system
from router.outbound.shortening import Shortening
from router.outbound.trust import trusted
from router.sharing.shares import SERVER, TENANT, Claims, Place, Shares

_log = logging.getLogger(__name__)
MOST_CONNECTIONS = 100
_MAX_IDLE = 20
_IDLE_SECONDS = 5.0
_POOL_WAIT = 2.0
_LONGEST_EXCHANGE = 60.0  # seconds, where a request sets no time-out
_LOST_SHARE = 4  # a pool is replaced when a fourth of its connections is lost

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
Claimed = Callable[[httpx.Request], Claims]


class AddressRefused(httpx.ConnectError):
    """The host has no address that may be connected to; nothing was sent."""


class AddressWrong(httpx.UnsupportedProtocol):
    """Of its address, headers and content no request can be made; nothing was sent."""


class CheckingClient(httpx.AsyncClient):
    """httpx's client, which says as a TransportError of what it can make no request."""

    def build_request(self, method: str, url: httpx.URL | str, **given: Any) -> httpx.Request:
        """Return the request. Raises AddressWrong."""
        try:
            request = super().build_request(method, url, **given)
            port = request.url.port
            usable = bool(request.url.host) and (port is None or 0 < port < 65536)
        except (httpx.InvalidURL, ValueError, OverflowError, RecursionError) as error:
            # Not "from error": what it quotes may be a key.
            raise AddressWrong(f"no request can be made of it ({type(error).__name__})") from None
        if not usable:
            raise AddressWrong("no request can be made of it: check host and port")
        return request


def open_tenant_http(
    settings: Settings, timeout: float, *, limit: int = MOST_CONNECTIONS
) -> httpx.AsyncClient:
    """Return a client for tenants' addresses; `timeout` in seconds. The caller closes it."""
    return client_over(CheckedTransport(Allowed.of(settings.own_networks), limit=limit), timeout)


def client_over(transport: httpx.AsyncBaseTransport, timeout: float) -> httpx.AsyncClient:
    """Return a client; `timeout` in seconds, but a free connection is waited for only briefly.

    The time-out is that of the whole exchange, also where a request names another.
    """
    return CheckingClient(
        transport=transport,
        timeout=httpx.Timeout(timeout, pool=_POOL_WAIT),
        headers={"Accept-Encoding": ENCODINGS},
        follow_redirects=False,
        trust_env=False,
    )


def for_tenant(tenant: str | int) -> dict[str, object]:
    """Return the extensions of a request that is made for a tenant, by its instance or its id."""
    return {"tenant": tenant}


def by_tenant_and_server(request: httpx.Request) -> Claims:
    """Return who may not have all connections: the tenant, if it is said, and the server."""
    url = request.url
    claims: dict[object, float] = {("server", url.host, url.port): SERVER}
    if (tenant := request.extensions.get("tenant")) is not None:
        claims["tenant", tenant] = TENANT
    return claims


class HealingTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, within bounds, over a pool that is replaced where it has lost much."""

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        *,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
    ) -> None:
        self.limit = limit
        self.replaced = 0
        self._claimed = claimed
        self._shares = Shares(limit)
        self._backend = backend
        # httpx lets nobody name the network backend; the pool is all that its own __init__ makes.
        self._pool = self._fresh_pool()
        self._under_way: dict[httpcore.AsyncConnectionPool, int] = {self._pool: 0}

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._under_way[self._pool]

    @property
    def is_exhausted(self) -> bool:
        """Whether every connection is held, so that a request has to wait for one."""
        return self._held() >= self.limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on; once more where only the pool's lost connections kept it here."""
        times = request.extensions.get("timeout", {})
        place = await self._place(request, times.get("pool"))
        bounds = Bounds.within(
            times.get("read") or _LONGEST_EXCHANGE,
            request.extensions.get("longest", LONGEST_ANSWER),
        )
        try:
            return await self._counted(request, bounds, place)
        except httpx.PoolTimeout:
            if not self._lost():
                raise
            await self._replace_pool()
            place = await self._place(request, times.get("pool"))
            return await self._counted(request, bounds, place)

    async def aclose(self) -> None:
        """Close all connections, also those that are in use."""
        for pool in list(self._under_way):
            await pool.aclose()

    async def _place(self, request: httpx.Request, patience: float | None) -> Place:
        try:
            wait = _POOL_WAIT if patience is None else patience
            return await self._shares.take(self._claimed(request), wait)
        except TimeoutError as error:
            message = "as many connections are held as may be"
            raise httpx.PoolTimeout(message, request=request) from error

    async def _counted(
        self, request: httpx.Request, bounds: Bounds, place: Place
    ) -> httpx.Response:
        pool = self._pool
        self._under_way[pool] += 1

        async def end() -> None:
            place.give_back()
            await self._ended(pool)

        within = current.set(bounds)
        try:
            response = await super().handle_async_request(request)
        except BaseException:
            await end()
            raise
        finally:
            current.reset(within)
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's transport
        stream = _WatchedStream(response.stream, bounds, end)
        try:
            stream.unpack = unpacking(response.headers, bounds.longest)
            if (kept := request.extensions.get("kept")) is not None:
                stream.shorten = Shortening(kept).shorten
        except httpx.DecodingError:
            await stream.aclose()
            raise
        response.stream = stream
        return response

    async def _ended(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._under_way[pool] -= 1
        if pool is self._pool:
            if self._lost() * _LOST_SHARE >= self.limit:
                await self._replace_pool()
        elif not self._under_way[pool]:
            del self._under_way[pool]
            await pool.aclose()

    def _held(self) -> int:
        return sum(not (each.is_idle() or each.is_closed()) for each in self._pool.connections)

    def _lost(self) -> int:
        """At least so many connections are held by nobody: a request holds one at most."""
        return max(0, self._held() - self.in_flight)

    async def _replace_pool(self) -> None:
        """Begin a fresh pool; the old one is closed when its last request has ended."""
        log_event(
            _log, Action.CONNECTIONS_REPLACED,
            f"{self._lost()} of {self.limit} connections were lost: they are replaced",
            level=logging.WARNING,
        )  # fmt: skip
        old, self._pool = self._pool, self._fresh_pool()
        self._under_way[self._pool] = 0
        self.replaced += 1
        if not self._under_way[old]:
            del self._under_way[old]
            await old.aclose()

    def _fresh_pool(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=trusted(),
            max_connections=self.limit,
            max_keepalive_connections=_MAX_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )


class _WatchedStream(httpx.AsyncByteStream):
    """An answer's body, unpacked; it tells when it has been read or given up."""

    def __init__(
        self, stream: httpx.AsyncByteStream, bounds: Bounds, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self.unpack: Callable[[bytes], bytes] = bytes
        self.shorten: Callable[[bytes], bytes] = bytes
        self._stream = stream
        self._bounds = bounds
        self._on_end: Callable[[], Awaitable[None]] | None = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while True:
            within = current.set(self._bounds)
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
            finally:
                current.reset(within)
            self._bounds.count_body(len(piece))
            yield self.shorten(self.unpack(piece))

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                await on_end()


class CheckedTransport(HealingTransport):
    """The transport to addresses that tenants set: judged before they are connected to."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolve | None = None,
        *,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
    ) -> None:
        backend = _CheckedBackend(allowed, OneAtATime(resolve or ask_system))
        super().__init__(backend, limit=limit, claimed=claimed)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that may be and can be connected to."""
        timeout = patience_left(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        failure: Exception | None = None
        for address in await self._addresses(host, port, timeout):
            left = None if end is None else max(end - time.monotonic(), 0.001)
            try:
                return BoundedStream(
                    await self._inner.connect_tcp(
                        address, port, left, local_address, socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            except NO_CONNECTION as error:
                failure = httpcore.ConnectError(f"{host} cannot be connected to: {error}")
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no tenant has a socket here."""
        del path, timeout, socket_options
        raise AddressRefused("a socket file is not an address")

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between its retries."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int, patience: float | None) -> list[str]:
        """Resolve the host, once. Raises AddressRefused where no address may be connected to."""
        try:
            async with asyncio.timeout(patience):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from error
        except (OSError, ValueError, OverflowError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        if self._allowed.has_host(host, port):
            return addresses
        judged = [text for text in addresses if self._allowed.has_address(ip_address(text))]
        if addresses and not judged:
            raise AddressRefused(f"{host} does not lead to a public address. {CURE}")
        return judged
