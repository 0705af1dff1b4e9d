"""The services of the console, and the check of who may see the demo's pages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import httpx
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from router.configuration.demo import Demo
from router.errors import NotFound
from router.http.callers import Callers
from router.http.services import given
from router.state.calls.model import Values
from router.state.database import Database

_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Headers that proxies and tunnels add and no browser sends: a part of the name, its beginning, or
# the whole name.
_PROXIED_PARTS = (
    *("forward", "proxy", "client-ip", "clientip", "connecting-ip", "real-ip", "realip"),
    *("remote-ip", "remote-addr", "original-", "originating-"),
)
_PROXIED_BEGINNINGS = (
    *("cf-", "fly-", "fastly-", "akamai-", "incap-", "x-amz", "x-appengine-", "x-arr-", "x-azure-"),
    *("x-cluster-", "x-cloud-trace", "x-envoy-", "x-nf-", "x-sucuri-", "x-vercel-", "x-varnish"),
    *("ngrok-", "tailscale-"),
)
_PROXIED_NAMES = (
    *(
        "via",
        "cdn-loop",
        "client",
        "x-client",
        "x-scheme",
        "x-url-scheme",
        "x-host",
        "x-script-name",
    ),
    *(
        "front-end-https",
        "disguised-host",
        "max-forwards",
        "surrogate-capability",
        "x-request-start",
    ),
)
_ELSEWHERE = "the demo is shown on the machine that it is played on: http://localhost"


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """What the demo's page needs; `demo` is None if there is no demo.

    `http` is for the deployment's own services; `policy` is for tenants without their own settings.
    `only_handler` names the handler of all replies; None: some are n8n's.
    """

    demo: Demo | None
    callers: Callers
    http: httpx.AsyncClient
    database: Database
    policy: Values
    wake: Callable[[], None]
    only_handler: str | None


TheConsole = Annotated[ConsoleServices, Depends(given(ConsoleServices))]


def is_on_this_machine(scope: Scope, callers: Callers) -> bool:
    """Whether the call comes from a browser on this machine, under this machine's own name.

    The host name is checked because any site may have a name that leads to 127.0.0.1. Calls through
    a proxy are refused because they may come from anywhere. A proxy that adds no header and names
    this machine as the host cannot be distinguished from a browser.
    """
    address = callers.address_of(scope)
    headers = Headers(scope=scope)
    host, _, port = headers.get("host", "").lower().rpartition(":")
    name = host if port.isdigit() else headers.get("host", "").lower()
    return (
        address is not None
        and address.is_loopback
        and name in _NAMES
        and not any(_is_of_a_proxy(each) for each in headers)
        and scope.get("http_version") != "1.0"  # older proxies use it, and no browser
    )


def _is_of_a_proxy(header: str) -> bool:
    return (
        header in _PROXIED_NAMES
        or header.startswith(_PROXIED_BEGINNINGS)
        or any(each in header for each in _PROXIED_PARTS)
    )


async def require_this_machine(request: Request, services: TheConsole) -> None:
    """Raise NotFound for a call from elsewhere."""
    if not is_on_this_machine(request.scope, services.callers):
        raise NotFound(_ELSEWHERE)
