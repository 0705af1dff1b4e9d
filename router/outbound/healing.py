"""The transport under every client: within bounds, in shares, over a pool that heals.

A server can hold up only its own requests: an exchange has a deadline as a whole and a longest
answer (`bounds.py`), of the connections nobody has all (`router.sharing.shares`), and long answers
are read a slice at a time, those of one tenant at a pace of their own (`pace.py`).

httpcore loses connections: who is cancelled between being given one and using it leaves it in the
pool for ever, held by nobody. Here the pool's connections are compared with the requests under
way, and a pool that has lost many is replaced.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import anyio._backends._asyncio
import anyio.streams.stapled
import anyio.streams.tls  # noqa: F401 - anyio would load them within the first call
import httpcore
import httpx

from router.logs.events import Action, log_event
from router.outbound.bounds import LONGEST_ANSWER, SLICE, Bounds, as_it_is, current, unpacking
from router.outbound.pace import Pace
from router.outbound.shortening import Shortening
from router.outbound.trust import trusted
from router.sharing.shares import SERVER, TENANT, Claims, Place, Shares

_log = logging.getLogger(__name__)
MOST_CONNECTIONS = 100
POOL_WAIT = 2.0
_MAX_IDLE = 20
_IDLE_SECONDS = 5.0
_LONGEST_EXCHANGE = 60.0  # seconds, where a request sets no time-out
_REPEATS = 3  # times that an answer may repeat its request before it is paced
_LOST_SHARE = 4  # a pool is replaced when a fourth of its connections is lost

Claimed = Callable[[httpx.Request], Claims]


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
        pace: Pace | None = None,
    ) -> None:
        """Several transports may have one `pace`; what is for no tenant is not paced."""
        self.limit = limit
        self.replaced = 0
        self._claimed = claimed
        self._shares = Shares(limit)
        self._pace = pace or Pace()
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
            wait = POOL_WAIT if patience is None else patience
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

        steps = _Steps(bounds, self._pace, request)
        within = current.set(bounds)
        try:
            response = await super().handle_async_request(request)
            await steps.count(b"")
        except httpx.TransportError:
            await end()
            await steps.count(b"")
            raise
        except BaseException:
            await end()
            raise
        finally:
            current.reset(within)
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's transport
        stream = _WatchedStream(response.stream, steps, end)
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


class _Steps:
    """How far one answer is read at once: after each step others have their turn.

    Nothing is waited for before a request: it follows the fence. Who has read too much waits for
    the answer.
    """

    def __init__(self, bounds: Bounds, pace: Pace, request: httpx.Request) -> None:
        self.bounds = bounds
        self._pace = pace
        self._tenant = request.extensions.get("tenant")
        # What repeats a request costs no more than to make the request did.
        self._free = _REPEATS * int(request.headers.get("content-length", 0))
        self._work = 0

    async def count(self, piece: bytes) -> None:
        """Note a piece that is read. Raises httpx.ReadTimeout where the next one has no time."""
        self._work += self._pace.rate.weigh(piece) + self.bounds.work
        self.bounds.work = 0
        if self._work < SLICE:
            return
        counted = max(0, self._work - self._free)
        self._free = max(0, self._free - self._work)
        self._work = 0
        wait = 0.0 if self._tenant is None else self._pace.count(self._tenant, counted)
        left = self.bounds.left(None)
        await asyncio.sleep(min(wait, left))
        if wait > left:
            raise httpx.ReadTimeout("more comes for this tenant than is read in the time")


class _WatchedStream(httpx.AsyncByteStream):
    """An answer's body, unpacked; it tells when it has been read or given up."""

    def __init__(
        self, stream: httpx.AsyncByteStream, steps: _Steps, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self.unpack: Callable[[bytes], Iterable[bytes]] = as_it_is
        self.shorten: Callable[[bytes], bytes] = bytes
        self._stream = stream
        self._steps = steps
        self._on_end: Callable[[], Awaitable[None]] | None = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        bounds = self._steps.bounds
        while True:
            within = current.set(bounds)
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
            finally:
                current.reset(within)
            bounds.count_body(len(piece))
            for part in self.unpack(piece):
                await self._steps.count(part)
                yield self.shorten(part)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                await on_end()
