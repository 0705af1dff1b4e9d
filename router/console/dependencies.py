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
_PROXIED = ("forwarded", "x-real-ip", "via", "cf-connecting-ip", "true-client-ip")
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
    machine may speak for anybody.
    """
    address = callers.address_of(scope)
    headers = Headers(scope=scope)
    host, _, port = headers.get("host", "").lower().rpartition(":")
    name = host if port.isdigit() else headers.get("host", "").lower()
    return (
        address is not None
        and address.is_loopback
        and name in _NAMES
        and not any(each in _PROXIED or each.startswith("x-forwarded-") for each in headers)
        and scope.get("http_version") != "1.0"  # what older proxies speak, and no browser
    )


async def require_this_machine(request: Request, services: TheConsole) -> None:
    """Raise NotFound for a call from elsewhere."""
    if not is_on_this_machine(request.scope, services.callers):
        raise NotFound(_ELSEWHERE)
