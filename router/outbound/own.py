"""The client for the deployment's own services: n8n, Supabase Auth, the moderation service.

They are trusted with addresses, but not to be quick, short or there: the same bounds hold as for
tenants' servers. Proxies that the environment names are used, as by every other program.
"""

from collections.abc import Iterable
from urllib.request import getproxies

import httpcore
import httpx

from router.outbound.bounds import NO_CONNECTION, BoundedStream, patience_left
from router.outbound.checked import SocketOption
from router.outbound.client import CheckingClient, client_over
from router.outbound.healing import HealingTransport
from router.sharing.shares import NOBODY


def open_own_http(timeout: float) -> httpx.AsyncClient:
    """Return the client; `timeout` in seconds is that of a whole exchange. The caller closes it."""
    proxies = getproxies()
    if any(scheme in proxies for scheme in ("http", "https", "all")):
        return CheckingClient(timeout=timeout)  # only httpx knows who is reached without one
    return client_over(HealingTransport(_PlainBackend()), timeout)


def open_flows_http(timeout: float, most: int) -> httpx.AsyncClient:
    """Return the client for n8n's webhooks, which hold the line until a flow has answered.

    `most` are as many as may be held. The caller closes it.
    """
    proxies = getproxies()
    if any(scheme in proxies for scheme in ("http", "https", "all")):
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=20)
        return CheckingClient(timeout=timeout, limits=limits)
    transport = HealingTransport(_PlainBackend(), limit=most, claimed=lambda _: NOBODY)
    return client_over(transport, timeout)


class _PlainBackend(httpcore.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, within the bounds of the exchange."""
        left = patience_left(timeout)
        try:
            made = await super().connect_tcp(host, port, left, local_address, socket_options)
        except NO_CONNECTION as error:
            raise httpcore.ConnectError(f"{host} cannot be connected to: {error}") from error
        return BoundedStream(made)
