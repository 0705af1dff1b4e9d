"""The client for the deployment's own services: n8n, Supabase Auth, the moderation service.

Their addresses are trusted, but they may still be slow, verbose or away, so they have the same
limits as tenants' servers. Proxies that the environment names are used, as in every other program.
"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.request import getproxies

import httpx

from router.outbound.bounds import NotBegunInTime, NotHeardInTime, slept_through
from router.outbound.client import CheckingClient, client_over
from router.outbound.names import OneAtATime, Resolver, ask_system
from router.outbound.transport import HAS_BEGUN, BoundedTransport
from router.sharing.shares import NOBODY

_BEGINS = "send_request_headers.started"
_HEARS = "receive_response_headers.started"
_COME_AFTER = (".failed", ".response_closed.started", ".response_closed.complete")
"""The steps that come after a time-out. None of them is waited for."""


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
        """Send the request. Raises httpx.RequestError.

        By TLS, nothing of it is sent before the proxy has connected to the server.
        """
        try:
            if (begin_by := request.extensions.get("begin_by")) is None:
                return await super().send(request, **given)
            return await self._send_in_time(request, begin_by, **given)
        except httpx.ProxyError as error:
            raise httpx.ConnectError(f"by the proxy: {error}", request=request) from error

    async def _send_in_time(
        self, request: httpx.Request, begin_by: float, **given: Any
    ) -> httpx.Response:
        steps = _Steps(request, begin_by)
        request.extensions["trace"] = steps.step
        try:
            return await super().send(request, **given)
        except (httpx.PoolTimeout, httpx.ConnectTimeout) as error:
            limit = "pool" if isinstance(error, httpx.PoolTimeout) else "connect"
            if steps.were_slept_through(limit):
                raise NotBegunInTime(request) from error
            raise
        except httpx.ReadTimeout as error:
            # The time of a body is for each piece of it, and nobody says when one came.
            is_slept_through = steps.last.endswith(_HEARS) and steps.were_slept_through("read")
            if not request.extensions[HAS_BEGUN]:
                late = httpx.ConnectTimeout("the proxy did not connect in time", request=request)
                raise (NotBegunInTime(request) if is_slept_through else late) from error
            if is_slept_through:
                raise NotHeardInTime(request) from error
            raise


class _Steps:
    """The steps of a request: `last` is the name of the last one that took time."""

    def __init__(self, request: httpx.Request, begin_by: float) -> None:
        self.last = ""
        self._request = request
        self._begin_by = begin_by
        self._since = time.monotonic()
        request.extensions[HAS_BEGUN] = False

    async def step(self, name: str, about: Mapping[str, Any]) -> None:
        """End the request if it is late; httpx calls this before and after each of its steps."""
        if name.endswith(_COME_AFTER):
            return
        self.last, self._since = name, time.monotonic()
        if not name.endswith(_BEGINS) or about["request"].method == b"CONNECT":
            return
        if self._since > self._begin_by:
            raise NotBegunInTime(self._request)
        self._request.extensions[HAS_BEGUN] = True

    def were_slept_through(self, limit: str) -> bool:
        """Whether this process stood still while the time of the last step ended."""
        return slept_through(self._since + (self._request.extensions["timeout"][limit] or 0))


def names_proxies() -> bool:
    """Whether the environment names proxies, for any host."""
    proxies = getproxies()
    return any(scheme in proxies for scheme in ("http", "https", "all"))


def any_address() -> Resolver:
    """Return a resolver that does not check addresses."""
    return Resolver(OneAtATime(ask_system))
