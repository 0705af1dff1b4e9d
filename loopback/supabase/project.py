"""A Supabase project: the gateway with its keys, PostgREST and Storage behind it."""

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

import jwt
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.faults import Fault, FaultPlan
from loopback.server import LoopbackServer
from loopback.supabase.callers import make_jwt
from loopback.supabase.postgrest import PostgREST
from loopback.supabase.storage import Storage
from loopback.waiting import Changes, Gate

_REST = "/rest/v1"
_STORAGE = "/storage/v1/"
_METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]
_ANY = "any"


class Rest(Protocol):
    """A PostgREST: the double or the real one."""

    async def open(self) -> None:
        """Start, in the server's event loop."""

    async def close(self) -> None:
        """End at once."""

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request; the path begins with a slash."""
        ...


class Supabase(LoopbackServer):
    """The project. Use `with Supabase(dsn) as project:`, then `project.url` and one of its keys.

    `dsn` is the database's address for the role authenticator. With `checks_keys = False` the
    gateway passes every key on to PostgREST, like a plain proxy. Faults apply to the calls of one
    function, by its name, or to all; in Storage to a method: `storage POST`.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schemas: Sequence[str] = ("public",),
        pre_request: str | None = None,
        rest: Callable[[str], Rest] | None = None,
    ) -> None:
        self.jwt_secret = secrets.token_hex(32)
        self.secret_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.checks_keys = True
        self.storage = Storage(self.jwt_secret)
        self.calls: list[str] = []
        """The functions that were called, in order."""
        self.connections: set[object] = set()
        """The connection of each call, by its client's address."""
        self._changes = Changes(self.story)
        self._faults = FaultPlan(self._changes)
        self._rest = (
            rest(self.jwt_secret) if rest else PostgREST(dsn, self.jwt_secret, schemas, pre_request)
        )
        route = Route("/{path:path}", self._take, methods=_METHODS)
        super().__init__(Starlette(routes=[route]))

    @property
    def service_role_key(self) -> str:
        """The legacy key: a JWT with the role service_role."""
        return self.jwt("service_role")

    def jwt(self, role: str, sub: str | None = None, **claims: object) -> str:
        """Return a JWT of this project; `exp` and other claims can be given."""
        return make_jwt(self.jwt_secret, role, sub, **claims)

    def fail(self, fault: Fault, *, function: str = _ANY, times: int | None = 1) -> None:
        """Let the next `times` calls (None: all, until `heal`) fail with this fault."""
        self._faults.fail(function, fault, times=times)

    def hold(self, function: str, *, after: bool = False) -> Gate:
        """Hold every call of the function from now on, until the gate is opened."""
        return self._faults.hold(function, after=after)

    def heal(self) -> None:
        """Remove the faults and open the gates."""
        self._faults.heal()

    async def opened(self) -> None:
        """Begin PostgREST."""
        await self._rest.open()

    async def closed(self) -> None:
        """Stop PostgREST together with the gateway."""
        await self._rest.close()

    def story(self) -> str:
        """Return the calls as text."""
        return f"called: {self.calls}"

    async def _take(self, request: Request) -> Response:
        path = request.url.path.removeprefix(_REST)
        function = path.removeprefix("/rpc/")
        if path.startswith(_STORAGE):
            function = f"storage {request.method}"
        with self._changes.made():
            self.calls.append(function)
            self.connections.add(request.client)

        async def act() -> Response:
            return await self._pass_on(request, path)

        async def act_or_fail() -> Response:
            return await self._faults.play(function, request, act)

        return await self._faults.play(_ANY, request, act_or_fail)

    async def _pass_on(self, request: Request, path: str) -> Response:
        if not request.url.path.startswith((f"{_REST}/", _STORAGE)):
            return JSONResponse({"message": "no Route matched with those values"}, status_code=404)
        key = request.headers.get("apikey")
        if key is None and self.checks_keys:
            return JSONResponse({"message": "No API key found in request"}, status_code=401)
        if key == self.secret_key:
            # This key is not a JWT: the gateway replaces it with one, unless the caller sends
            # another.
            if "Authorization" not in request.headers:
                headers = MutableHeaders(scope=request.scope)
                headers["Authorization"] = f"Bearer {self.service_role_key}"
                request = Request(request.scope, request.receive)
        elif self.checks_keys and not self._is_ours(key or ""):
            hint = "Double check your Supabase `anon` or `service_role` API key."
            return JSONResponse({"message": "Invalid API key", "hint": hint}, status_code=401)
        if path.startswith(_STORAGE):
            return await self.storage.answer(request, path.removeprefix(_STORAGE))
        return await self._rest.answer(request, path)

    def _is_ours(self, key: str) -> bool:
        try:
            jwt.decode(key, self.jwt_secret, algorithms=["HS256"], options={"verify_aud": False})
        except jwt.InvalidTokenError:
            return False
        return True
