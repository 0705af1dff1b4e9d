"""The transport to URLs that tenants set: judged before they are connected to.

A tenant's host is resolved once, each of its addresses is judged, and the connection is opened to a
judged address itself: a name that changes its mind in between (DNS rebinding) gains nothing. TLS
still checks the certificate for the name.
"""

import asyncio
import time
from collections.abc import Iterable
from ipaddress import ip_address

import httpcore
import httpx

from router.configuration.addresses import CURE, Allowed
from router.outbound.bounds import NO_CONNECTION, BoundedStream, patience_left
from router.outbound.healing import (
    MOST_CONNECTIONS,
    Claimed,
    HealingTransport,
    by_tenant_and_server,
)
from router.outbound.names import OneAtATime, Resolve, ask_system
from router.outbound.pace import Pace

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class AddressRefused(httpx.ConnectError):
    """The host has no address that may be connected to; nothing was sent."""


class CheckedTransport(HealingTransport):
    """The transport to URLs that tenants set: judged before they are connected to."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolve | None = None,
        *,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
        pace: Pace | None = None,
    ) -> None:
        backend = _CheckedBackend(allowed, OneAtATime(resolve or ask_system))
        super().__init__(backend, limit=limit, claimed=claimed, pace=pace)


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
