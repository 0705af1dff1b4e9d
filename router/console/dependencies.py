"""What the console works with, and who may see the pages of the demo."""

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
# Of a header that proxies and tunnels add, and no browser sends: a part of its name, its beginning,
# or all of it.
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
    """What the demo's page needs; `demo` is None where none is played.

    `http` leads to the deployment's own services; `policy` holds where the tenant has no rule.
    `only_handler` makes all replies; None: it is n8n or another.
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
    """Whether a browser on this machine asks, for this machine.

    Its name counts, too: any site may have a name of its own lead to 127.0.0.1. And a proxy on this
    machine may speak for anybody: one that adds no header and names this machine as the host cannot
    be told from a browser.
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
        and scope.get("http_version") != "1.0"  # what older proxies speak, and no browser
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
