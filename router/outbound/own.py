"""The client for the deployment's own services: n8n, Supabase Auth, the moderation service.

Their addresses are trusted, but they may still be slow, verbose or away, so they have the same
limits as tenants' servers. Proxies that the environment names are used, as in every other program.
"""

import time
from typing import Any
from urllib.request import getproxies

import httpx

from router.outbound.bounds import NotBegunInTime, slept_through
from router.outbound.client import CheckingClient, client_over
from router.outbound.names import OneAtATime, Resolver, ask_system
from router.outbound.transport import HAS_BEGUN, BoundedTransport
from router.sharing.shares import NOBODY

_TO_CONNECT = ("pool", "connect")


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
        if (begin_by := request.extensions.get("begin_by")) is None:
            return await super().send(request, **given)
        beginning = _Beginning(request, begin_by)
        request.extensions["trace"] = beginning.step
        try:
            return await super().send(request, **given)
        except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            if beginning.was_slept_through:
                raise NotBegunInTime(request) from error
            raise


class _Beginning:
    """A request until its first byte."""

    def __init__(self, request: httpx.Request, begin_by: float) -> None:
        self._request = request
        self._begin_by = begin_by
        self._longest = max(request.extensions["timeout"][each] or 0 for each in _TO_CONNECT)
        self._step_began = time.monotonic()
        request.extensions[HAS_BEGUN] = False

    async def step(self, name: str, _: object) -> None:
        """End the request if it is late; httpx calls this before and after each of its steps."""
        self._step_began = time.monotonic()
        if not name.endswith("send_request_headers.started"):
            return
        if self._step_began > self._begin_by:
            raise NotBegunInTime(self._request)
        self._request.extensions[HAS_BEGUN] = True

    @property
    def was_slept_through(self) -> bool:
        """Whether this process stood still while the time of the step that has failed ended."""
        return slept_through(self._step_began + self._longest)


def names_proxies() -> bool:
    """Whether the environment names proxies, for any host."""
    proxies = getproxies()
    return any(scheme in proxies for scheme in ("http", "https", "all"))


def any_address() -> Resolver:
    """Return a resolver that does not check addresses."""
    return Resolver(OneAtATime(ask_system))
