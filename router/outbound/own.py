"""The client for the deployment's own services: n8n, Supabase Auth, the moderation service.

Their addresses are trusted, but they may still be slow, verbose or away, so they have the same
limits as tenants' servers. Proxies that the environment names are used, as in every other program.
"""

import time
from functools import partial
from typing import Any
from urllib.request import getproxies

import httpx

from router.outbound.bounds import NotBegunInTime
from router.outbound.client import CheckingClient, client_over
from router.outbound.names import OneAtATime, Resolver, ask_system
from router.outbound.transport import BoundedTransport
from router.sharing.shares import NOBODY


def open_own_http(timeout: float) -> httpx.AsyncClient:
    """Return the client; `timeout` in seconds is for a whole exchange. The caller closes it."""
    if names_proxies():
        return _ByProxy(timeout=timeout)  # only httpx knows which hosts need no proxy
    return client_over(BoundedTransport(any_address()), timeout)


def open_flows_http(timeout: float, most: int) -> httpx.AsyncClient:
    """Return the client for n8n's webhooks, which hold the connection until a flow has answered.

    `most` limits the connections that are held. The caller closes the client.
    """
    if names_proxies():
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=20)
        return _ByProxy(timeout=timeout, limits=limits)
    transport = BoundedTransport(any_address(), limit=most, claimed=lambda _: NOBODY)
    return client_over(transport, timeout)


class _ByProxy(CheckingClient):
    """httpx's own connections, which use proxies; of our bounds they keep `begin_by` alone."""

    async def send(self, request: httpx.Request, **given: Any) -> httpx.Response:
        """Send the request. Raises httpx.RequestError."""
        if (begin_by := request.extensions.get("begin_by")) is not None:
            request.extensions["trace"] = partial(_begin_in_time, request, begin_by)
        return await super().send(request, **given)


async def _begin_in_time(request: httpx.Request, begin_by: float, step: str, _: object) -> None:
    """End the request if it is late; httpx calls this before each of its steps."""
    if step.endswith("send_request_headers.started") and time.monotonic() > begin_by:
        raise NotBegunInTime(request)


def names_proxies() -> bool:
    """Whether the environment names proxies, for any host."""
    proxies = getproxies()
    return any(scheme in proxies for scheme in ("http", "https", "all"))


def any_address() -> Resolver:
    """Return a resolver that does not check addresses."""
    return Resolver(OneAtATime(ask_system))
