"""The transport to URLs that tenants set: addresses are checked before a connection is made.

A tenant's host is resolved once, each of its addresses is checked, and the connection is opened to
a checked address, not to the name. So changing the name's address in between (DNS rebinding) has no
effect. TLS still checks the certificate for the name.
"""

from ipaddress import ip_address

import httpx

from router.configuration.addresses import CURE, Allowed
from router.outbound.names import OneAtATime, Resolve, Resolver, ask_system
from router.outbound.pace import Pace
from router.outbound.refused import AddressRefused
from router.outbound.transport import (
    MOST_CONNECTIONS,
    BoundedTransport,
    Claimed,
    by_tenant_and_server,
)


class CheckedTransport(BoundedTransport):
    """The transport to URLs that tenants set: addresses are checked before connecting."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolve | None = None,
        *,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
        pace: Pace | None = None,
    ) -> None:
        self._judged = _Judged(allowed, OneAtATime(resolve or ask_system))
        super().__init__(Resolver(self._judged), limit=limit, claimed=claimed, pace=pace)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See BoundedTransport. Raises AddressRefused."""
        url = request.url
        self._judged.check_written(url.host, url.port or _PORTS.get(url.scheme, 0))
        return await super().handle_async_request(request)


_PORTS = {"http": 80, "https": 443}


class _Judged:
    """Resolves a host to the addresses that may be connected to."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def __call__(self, host: str, port: int) -> list[str]:
        """Resolve the host, once. Raises AddressRefused if no address may be connected to."""
        addresses = await self._resolve(host, port)
        if self._allowed.has_host(host, port):
            return addresses
        judged = [text for text in addresses if self._allowed.has_address(ip_address(text))]
        if addresses and not judged:
            raise AddressRefused(f"{host} does not lead to a public address. {CURE}")
        return judged

    def check_written(self, host: str, port: int) -> None:
        """Check a host that is written as an IP address, because aiohttp does not resolve these.

        Raises AddressRefused.
        """
        if ":" not in host and not host.replace(".", "").isdigit():
            return
        try:
            address = ip_address(host)
        except ValueError:
            raise AddressRefused(f"{host} is not written as addresses are") from None
        if not (self._allowed.has_host(host, port) or self._allowed.has_address(address)):
            raise AddressRefused(f"{host} does not lead to a public address. {CURE}")
