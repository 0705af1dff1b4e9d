"""An HTTP client for addresses that tenants set.

A host is resolved once, each of its addresses is judged, and the connection is opened to a judged
address itself: a name that changes its mind in between (DNS rebinding) gains nothing. TLS still
checks the certificate for the name. Redirects are not followed, and proxies of the environment are
not used, for behind one it is the proxy that resolves the name.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address

import httpcore
import httpx

from router.outbound.addresses import CURE, Allowed
from router.settings import Settings

_MAX_CONNECTIONS = 100
_MAX_IDLE = 20
_IDLE_SECONDS = 5.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class AddressRefused(httpx.ConnectError):
    """The host has no address that may be connected to; nothing was sent."""


def open_tenant_http(settings: Settings, timeout: float) -> httpx.AsyncClient:
    """Return a client for tenants' addresses; `timeout` in seconds. The caller closes it."""
    return httpx.AsyncClient(
        transport=CheckedTransport(Allowed.of(settings.own_networks)),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
    )


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, over connections that are judged before they are opened."""

    def __init__(self, allowed: Allowed, resolve: Resolve | None = None) -> None:
        # httpx lets nobody name the network backend; the pool is all that its own __init__ makes.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_CheckedBackend(allowed, resolve or _ask_system),
        )


async def _ask_system(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the order of the system's preference. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


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
        end = None if timeout is None else time.monotonic() + timeout
        failure: Exception | None = None
        for address in await self._addresses(host, port, timeout):
            left = None if end is None else max(end - time.monotonic(), 0.001)
            try:
                return await self._inner.connect_tcp(
                    address, port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
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
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        if self._allowed.has_host(host, port):
            return addresses
        judged = [text for text in addresses if self._allowed.has_address(ip_address(text))]
        if addresses and not judged:
            raise AddressRefused(f"{host} does not lead to a public address. {CURE}")
        return judged
