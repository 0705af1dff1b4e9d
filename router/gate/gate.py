"""What every call must pass but webhooks, which have rules of their own, and the health checks.

First the caller is known (who shows what only the database knows is looked up in turn, see
`router.gate.lookups`), then its rate is counted, then its body is read, and only when that is
there the call takes one of the places. Too many at once: 503, or 429 where one caller has them; too
often: 429; both with Retry-After. Too large: 413. Too slow: 408. Nested too deep, or of too many
values: 422. All in the API's one shape of an error.

A call that shows no right credential goes on to its endpoint without its body: to be refused it
needs none. A key or token that the database does not know is refused here: the endpoint would ask
again. What flows send to the gateway takes its places there, where its tenant is known.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import DatabaseAway
from router.gate.lookups import Refused
from router.gate.proofs import CRON, Proofs, ProvenCaller
from router.gate.unread import (
    Unwanted,
    answer_to_flow,
    database_away,
    is_of_flow,
    may_be_large,
    refusal_of_form,
    refusal_of_token,
    require_held,
    token_of,
)
from router.gate.user_tokens import UserTokens
from router.http.bodies import Bodies, TooMuch
from router.http.callers import Callers
from router.http.errors import error_response
from router.http.json_bounds import require_few_values, require_shallow_text
from router.sharing.at_once import AtOnce, TooManyAtOnce
from router.sharing.rates import Rates, per_minute
from router.sharing.shares import Shares
from router.state.database import Database
from router.state.entrances import Entrances, on_behalf_of

_EXEMPT = ("/webhook/", "/health")
_FLOW = "flow"
SHORT_FLOW = 65_536  # bytes of a flow's body that are read before its turn is looked at
_TENANTS = "/api/tenants/"
_TENTH = 10  # this part of the places is left for who calls for the deployment
_AS_MANY_AS_ARE_FREE = 1.0
_CRON_AT_ONCE = 4
_NUMBER: TypeAdapter[int] = TypeAdapter(int)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Calls a minute for each caller and tenant; calls at once; bytes, depth and number of values.

    `address_calls_per_minute` are for one caller in all tenants, and for all that one address sends
    without a right credential. `flow_bytes` is for what flows send that may carry media.
    """

    calls_per_minute: int
    address_calls_per_minute: int
    at_once: int
    max_bytes: int
    flow_bytes: int
    max_depth: int
    max_values: int = 20_000


@dataclass(frozen=True, slots=True)
class Memory:
    """The bodies of each kind. `short` are those of flows whose turns nobody has looked at yet."""

    calls: Bodies
    flows: Bodies
    short: Bodies


class _Own(Enum):
    """Who has places apart from all other calls."""

    REPORTS = "reports of flows"
    CRON = "cron"


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Who calls, by a name, and how its body may be read: as which sender's, of how many bytes."""

    caller: str
    bodies: Bodies
    sender: str
    most: int
    place: "str | _Own | None"  # by whose name it is counted; None: the endpoint counts
    is_ours: bool = False  # it calls for the deployment


class _Answered(Exception):
    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class CallGate:
    """ASGI middleware. Its counters are those of one application."""

    def __init__(
        self,
        app: ASGIApp,
        limits: CallLimits,
        rates: Rates,
        callers: Callers,
        memory: Memory,
        proofs: Proofs,
        *,
        has_flows: bool,
    ) -> None:
        self._app = app
        self._limits = limits
        self._rates = rates
        self._callers = callers
        self._memory = memory
        self._proofs = proofs
        self._has_flows = has_flows
        self._places = Shares(limits.at_once)
        self._for_ours = min(limits.at_once - 1, max(1, limits.at_once // _TENTH))
        self._reports = AtOnce(max(1, limits.at_once // 2))
        self._cron = AtOnce(_CRON_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call pass, or answer it."""
        if scope["type"] != "http" or scope["path"].startswith(_EXEMPT):
            await self._app(scope, receive, send)
            return
        try:
            admitted = await self._admit(scope)
            if admitted is None:
                await self._app(scope, _without_body(receive), send)
            else:
                await self._pass_on(scope, receive, send, admitted)
        except TooMuch as too_much:
            is_flow = self._has_flows and is_of_flow(scope)
            answer = answer_to_flow(scope, too_much) if is_flow else _answer(too_much)
            await answer(scope, receive, send)
        except _Answered as answered:
            await answered.answer(scope, receive, send)

    async def _admit(self, scope: Scope) -> _Admitted | None:
        """Return who calls; None: somebody whose body nobody needs."""
        block = self._callers.block_of(scope)
        if self._has_flows and is_of_flow(scope):
            return await self._admit_flow(scope, block)
        try:
            caller = await self._caller_of(scope, block)
        except Refused as refused:
            self._count_junk(block)
            wanted = {"WWW-Authenticate": "Bearer"}
            raise _Answered(error_response(401, "unauthorised", str(refused), wanted)) from refused
        if caller is None:
            self._count_junk(block)
            return None
        self._count_call(caller.name, _tenant_of(scope))
        return _Admitted(
            caller.name,
            self._memory.calls,
            caller.holder,
            self._limits.max_bytes,
            _Own.CRON if caller.name == CRON else caller.holder,
            caller.is_ours,
        )

    async def _admit_flow(self, scope: Scope, block: str) -> _Admitted:
        refusal = refusal_of_form(scope)
        if refusal is not None:
            self._count_junk(block)
            raise _Answered(refusal)
        limits, memory = self._limits, self._memory
        sender = await self._sender_of_flow(scope, block)
        place = None if may_be_large(scope) else _Own.REPORTS
        if place is not None or _is_short(scope):
            most = min(SHORT_FLOW, limits.max_bytes if place else limits.flow_bytes)
            return _Admitted(_FLOW, memory.short, sender, most, place)
        try:
            await require_held(scope, token_of(scope), _look_ups(scope))
        except Unwanted as unwanted:
            raise _Answered(unwanted.answer) from unwanted
        return _Admitted(_FLOW, memory.flows, sender, limits.flow_bytes, place)

    async def _sender_of_flow(self, scope: Scope, block: str) -> str:
        """Return who sends: all turns and notices of a tenant are one."""
        token = token_of(scope)
        if token is None:
            return block
        try:
            tenant_id = await self._proofs.of_flow(token, block, _look_ups(scope))
        except Refused as refused:
            self._count_junk(block)
            raise _Answered(refusal_of_token(scope, str(refused))) from refused
        except DatabaseAway as error:
            raise _Answered(database_away(scope, error)) from error
        return f"tenant {tenant_id}"

    async def _caller_of(self, scope: Scope, block: str) -> ProvenCaller | None:
        if scope["path"].startswith("/cron/"):
            return self._proofs.of_cron(scope)
        if not scope["path"].startswith("/api/"):
            return None
        tokens: UserTokens = scope["app"].state.user_tokens
        try:
            return await self._proofs.of_caller(scope, block, tokens, _look_ups(scope))
        except DatabaseAway as error:
            away = error_response(503, "database_away", str(error), {"Retry-After": "5"})
            raise _Answered(away) from error

    def _count_junk(self, block: str) -> None:
        _require(
            self._rates.exceeded(
                per_minute(self._limits.address_calls_per_minute), "address", block
            )
        )

    def _count_call(self, caller: str, tenant: str) -> None:
        limits = self._limits
        each = self._rates.exceeded(per_minute(limits.calls_per_minute), "call", caller, tenant)
        all_of_them = self._rates.exceeded(
            per_minute(limits.address_calls_per_minute), "caller", caller
        )
        _require(max((wait for wait in (each, all_of_them) if wait is not None), default=None))

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, admitted: _Admitted
    ) -> None:
        limits = self._limits
        async with admitted.bodies.reading(
            scope, receive, sender=admitted.sender, most=admitted.most
        ) as body:
            if body:
                await require_few_values(body, limits.max_values)
                require_shallow_text(body, limits.max_depth)
            with self._place(admitted):
                noting = self._noting(send, admitted.caller)
                with on_behalf_of(admitted.sender):
                    await self._app(scope, _again(body, receive), noting)

    def _place(self, admitted: _Admitted) -> AbstractContextManager[None]:
        """Take a place. Reports of flows have their own: what a flow has said must be taken in."""
        match admitted.place:
            case None:
                return nullcontext()
            case _Own.REPORTS:
                return _one_of(self._reports, "too many reports are being taken in: try again soon")
            case _Own.CRON:
                return _one_of(self._cron, "cron is at work: wait until that is done")
            case holder:
                return self._place_of_caller(holder, 0 if admitted.is_ours else self._for_ours)

    @contextmanager
    def _place_of_caller(self, holder: str, left: int) -> Iterator[None]:
        """Take a place of those for calls. One holder has half of them at most, less than are free.

        So many are `left` for who calls for the deployment.
        """
        place = self._places.take_now({holder: _AS_MANY_AS_ARE_FREE}, leaving=left)
        if place is None and self._places.free <= left:
            raise TooMuch(503, "busy", "too many calls are being answered: try again soon", 1)
        if place is None:
            raise TooMuch(429, "too_many_at_once", "wait until your other calls are answered", 1)
        try:
            yield
        finally:
            place.give_back()

    def _noting(self, send: Send, caller: str) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._proofs.forget(caller)
            await send(message)

        return noting


@contextmanager
def _one_of(places: AtOnce, busy: str) -> Iterator[None]:
    try:
        with places.taken(None):
            yield
    except TooManyAtOnce as error:
        raise TooMuch(503, "busy", busy, 1) from error


def _look_ups(scope: Scope) -> Database:
    entrances: Entrances = scope["app"].state.entrances
    return entrances.look_ups


def _require(wait: int | None) -> None:
    if wait is not None:
        raise TooMuch(429, "too_many_calls", f"too many calls: wait {wait} seconds", wait)


def _answer(too_much: TooMuch) -> Response:
    wait = too_much.retry_after
    headers = None if wait is None else {"Retry-After": str(wait)}
    return error_response(too_much.status, too_much.code, str(too_much), headers)


def _is_short(scope: Scope) -> bool:
    declared = Headers(scope=scope).get("content-length", "")
    return declared.isascii() and declared.isdigit() and int(declared) <= SHORT_FLOW


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _without_body(receive: Receive) -> Receive:
    async def until_it_ends() -> Message:
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return _again(b"", until_it_ends)


def _tenant_of(scope: Scope) -> str:
    """Return the tenant that a call is about, as the endpoints read it: `01` is `1`."""
    path: str = scope["path"]
    if path.startswith(_TENANTS):
        return _number(path[len(_TENANTS) :].partition("/")[0])
    query: bytes = scope["query_string"]
    return _number(parse_qs(query.decode("latin-1")).get("tenant_id", [""])[-1])


def _number(text: str) -> str:
    try:
        return str(_NUMBER.validate_python(text))  # all of it: cut, it is another's
    except ValidationError:
        return ""
