"""What every call must pass but webhooks, which have rules of their own, and the health checks.

Too many at once: 503, or 429 where one caller has them; too often: 429; both with Retry-After. Too
large: 413. Nested too deep: 422. All in the API's one shape of an error.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.http_errors import error_response
from router.limits.depth import too_deep
from router.limits.rates import Rates, per_minute

_EXEMPT = ("/webhook/", "/health")
_FLOWS = "/n8n/"  # from one address, with a token for each turn: told apart by nothing else
_CREDENTIALS = ("x-api-key", "authorization", "x-cron-secret")
_TENANT = re.compile(r"/api/tenants/(\d{1,19})(?:/|$)")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Calls a minute for each credential and tenant, and for each address; calls at once; bytes.

    `flow_bytes` is for what flows send, which may carry media.
    """

    calls_per_minute: int
    address_calls_per_minute: int
    at_once: int
    max_bytes: int
    flow_bytes: int
    max_depth: int


class _TooMuch(Exception):
    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def answer(self) -> Response:
        headers = None if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return error_response(self.status, self.code, str(self), headers)


class CallGate:
    """ASGI middleware. Its counters are those of one application."""

    def __init__(self, app: ASGIApp, limits: CallLimits, rates: Rates) -> None:
        self._app = app
        self._limits = limits
        self._rates = rates
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call pass, or answer it."""
        if scope["type"] != "http" or scope["path"].startswith(_EXEMPT):
            await self._app(scope, receive, send)
            return
        caller = _caller_of(scope)
        try:
            self._check_rates(scope, caller)
            self._check_place(scope, caller)
        except _TooMuch as too_much:
            await too_much.answer()(scope, receive, send)
            return
        self._under_way[caller] += 1
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read(scope, receive)
        except _TooMuch as too_much:
            await too_much.answer()(scope, receive, send)
            return
        await self._app(scope, _again(body, receive), send)

    def _check_rates(self, scope: Scope, caller: str) -> None:
        if scope["path"].startswith(_FLOWS):
            return
        limits = self._limits
        waits = (
            self._rates.exceeded(
                per_minute(limits.calls_per_minute), "call", caller, _tenant_of(scope)
            ),
            self._rates.exceeded(
                per_minute(limits.address_calls_per_minute), "address", _address_of(scope)
            ),
        )
        wait = max((wait for wait in waits if wait is not None), default=None)
        if wait is not None:
            raise _TooMuch(429, "too_many_calls", f"too many calls: wait {wait} seconds", wait)

    def _check_place(self, scope: Scope, caller: str) -> None:
        if self._under_way.total() >= self._limits.at_once:
            raise _TooMuch(503, "busy", "too many calls are being answered: try again soon", 1)
        mine = self._under_way[caller] if not scope["path"].startswith(_FLOWS) else 0
        if mine >= max(1, self._limits.at_once // 2):
            raise _TooMuch(429, "too_many_at_once", "wait until your other calls are answered", 1)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        is_flow = scope["path"].startswith(_FLOWS)
        limit = self._limits.flow_bytes if is_flow else self._limits.max_bytes
        too_large = _TooMuch(413, "too_large", f"a body may have at most {limit} bytes")
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect  # half a request is none, even where a body may be missing
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            if not message.get("more_body", False):
                break
        if body and self._is_too_deep(bytes(body)):
            most = self._limits.max_depth
            raise _TooMuch(422, "too_deep", f"JSON may be nested {most} deep at most")
        return bytes(body)

    def _is_too_deep(self, body: bytes) -> bool:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return "depth limit" in str(error)  # else it is no JSON, which the endpoint will say
        return too_deep(value, self._limits.max_depth)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _caller_of(scope: Scope) -> str:
    """Return what the caller shows, as a digest; without it, the address."""
    headers = Headers(scope=scope)
    for name in _CREDENTIALS:
        if shown := headers.get(name):
            return hashlib.sha256(shown.encode()).hexdigest()[:32]
    return _address_of(scope)


def _address_of(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _tenant_of(scope: Scope) -> str:
    if found := _TENANT.match(scope["path"]):
        return found[1]
    query: bytes = scope["query_string"]
    asked = parse_qs(query.decode("latin-1")).get("tenant_id", [""])
    return asked[0][:20]
