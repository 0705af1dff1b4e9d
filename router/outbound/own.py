"""The client for the deployment's own services: n8n, Supabase Auth, the moderation service.

Their addresses are trusted, but they may still be slow, verbose or away, so they have the same
limits as tenants' servers. Proxies that the environment names are used, as in every other program.
"""

from urllib.request import getproxies

import httpx

from router.outbound.client import CheckingClient, client_over
from router.outbound.names import OneAtATime, Resolver, ask_system
from router.outbound.transport import BoundedTransport
from router.sharing.shares import NOBODY


def open_own_http(timeout: float) -> httpx.AsyncClient:
    """Return the client; `timeout` in seconds is for a whole exchange. The caller closes it."""
    if names_proxies():
        return CheckingClient(timeout=timeout)  # only httpx knows which hosts need no proxy
    return client_over(BoundedTransport(any_address()), timeout)


def open_flows_http(timeout: float, most: int) -> httpx.AsyncClient:
    """Return the client for n8n's webhooks, which hold the connection until a flow has answered.

    `most` limits the connections that are held. The caller closes the client.
    """
    if names_proxies():
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=20)
        return CheckingClient(timeout=timeout, limits=limits)
    transport = BoundedTransport(any_address(), limit=most, claimed=lambda _: NOBODY)
    return client_over(transport, timeout)


def names_proxies() -> bool:
    """Whether the environment names proxies, for any host."""
    proxies = getproxies()
    return any(scheme in proxies for scheme in ("http", "https", "all"))


def any_address() -> Resolver:
    """Return a resolver that does not check addresses."""
    return Resolver(OneAtATime(ask_system))
