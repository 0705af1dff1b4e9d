"""Decides before a body is read who calls, and how much they may send.

First the caller is identified (for credentials that only the database knows see `lookups.py`), then
its call is counted. A call without a valid credential is passed to its endpoint without the body,
which is not needed to refuse it. A key or token that the database does not know is refused here,
because the endpoint would look it up again.
"""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from router.errors import DatabaseAway
from router.gate.lookups import Refused
from router.gate.proofs import CRON, Proofs, ProvenCaller
from router.gate.services import GateServices
from router.gate.unread import (
    Unwanted,
    database_away,
    is_of_flow,
    may_be_large,
    refusal_of_form,
    refusal_of_token,
    require_held,
    token_of,
)
from router.http.bodies import Bodies, TooMuch
from router.http.callers import Callers
from router.http.errors import error_response
from router.http.services import find
from router.sharing.rates import Rates, per_minute
from router.state.database import Database
from router.state.entrances import on_behalf_of

_FLOW = "flow"
SHORT_FLOW = 65_536  # bytes of a flow's body that are read before its turn is checked
STREAM = "/api/stream"
"""The stream stays open, and has its own places: it needs no place for calls, and has no body."""
_TENANTS = "/api/tenants/"
_MESSAGES = re.compile(r"/api/sessions/[0-9]{1,20}/messages")
_NUMBER: TypeAdapter[int] = TypeAdapter(int)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits: calls a minute per caller and tenant; calls at once; sizes of bodies.

    `address_calls_per_minute` is for one caller over all tenants, and for everything that one
    address sends without a valid credential. `flow_calls_per_minute` is for all flows of a tenant,
    `flow_bytes` for their requests that may contain media, and `media_bytes` for callers' messages.
    """

    calls_per_minute: int
    address_calls_per_minute: int
    at_once: int
    max_bytes: int
    flow_bytes: int
    media_bytes: int
    max_depth: int
    max_values: int = 20_000
    flow_calls_per_minute: int = 6000


@dataclass(frozen=True, slots=True)
class Memory:
    """The bodies in memory, by kind. `short` are those of flows whose turns are not checked yet.

    `messages` are those of callers who write to contacts; they may contain media.
    """

    calls: Bodies
    flows: Bodies
    short: Bodies
    messages: Bodies


class Own(Enum):
    """Callers that have separate places."""

    REPORTS = "reports of flows"
    CRON = "cron"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The caller's name, and how its body may be read: by whose share, and how many bytes."""

    caller: str
    bodies: Bodies
    sender: str
    most: int
    place: "str | Own | None"  # the holder that the call counts for; None: the endpoint counts it
    is_ours: bool = False  # the caller acts for the deployment


class Answered(Exception):
    """The call gets this response, and is not passed on."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Admission:
    """Admits calls. Its counters are those of one application."""

    def __init__(
        self,
        limits: CallLimits,
        rates: Rates,
        callers: Callers,
        memory: Memory,
        proofs: Proofs,
        *,
        has_flows: bool,
    ) -> None:
        self._limits = limits
        self._rates = rates
        self._callers = callers
        self._memory = memory
        self._proofs = proofs
        self._has_flows = has_flows

    def is_of_flow(self, scope: Scope) -> bool:
        """Whether a flow in n8n calls, if there are any."""
        return self._has_flows and is_of_flow(scope)

    def forget(self, caller: str) -> None:
        """Verify the caller again the next time, because an endpoint refused it."""
        self._proofs.forget(caller)

    async def admit(self, scope: Scope) -> Admitted | None:
        """Return the caller, or None if the body is not needed. Raises Answered and TooMuch."""
        block = self._callers.block_of(scope)
        if self.is_of_flow(scope):
            return await self._admit_flow(scope, block)
        try:
            caller = await self._caller_of(scope, block)
        except Refused as refused:
            self._count_junk(block)
            wanted = {"WWW-Authenticate": "Bearer"}
            raise Answered(error_response(401, "unauthorised", str(refused), wanted)) from refused
        if caller is None:
            self._count_junk(block)
            return None
        self._count_call(caller.name, _tenant_of(scope))
        is_stream = scope["path"] == STREAM
        is_message = scope["method"] == "POST" and _MESSAGES.fullmatch(scope["path"]) is not None
        most = self._limits.media_bytes if is_message else self._limits.max_bytes
        place = Own.CRON if caller.name == CRON else caller.holder
        return Admitted(
            caller.name,
            self._memory.messages if is_message else self._memory.calls,
            caller.holder,
            0 if is_stream else most,
            None if is_stream else place,
            caller.is_ours,
        )

    async def _admit_flow(self, scope: Scope, block: str) -> Admitted:
        refusal = refusal_of_form(scope)
        if refusal is not None:
            self._count_junk(block)
            raise Answered(refusal)
        limits, memory = self._limits, self._memory
        sender = await self._sender_of_flow(scope, block)
        rate = per_minute(limits.flow_calls_per_minute)
        _require(self._rates.exceeded(rate, "flow", sender))
        place = None if may_be_large(scope) else Own.REPORTS
        if place is not None or _is_short(scope):
            most = min(SHORT_FLOW, limits.max_bytes if place else limits.flow_bytes)
            return Admitted(_FLOW, memory.short, sender, most, place)
        try:
            with on_behalf_of(sender):  # the look-up of the turn counts for its tenant
                await require_held(scope, token_of(scope), find(scope, GateServices).turns)
        except Unwanted as unwanted:
            raise Answered(unwanted.answer) from unwanted
        return Admitted(_FLOW, memory.flows, sender, limits.flow_bytes, place)

    async def _sender_of_flow(self, scope: Scope, block: str) -> str:
        """Return the sender; all turns and notices of a tenant count as one."""
        token = token_of(scope)
        if token is None:
            return block
        try:
            tenant_id = await self._proofs.of_flow(token, block, _look_ups(scope))
        except Refused as refused:
            self._count_junk(block)
            raise Answered(refusal_of_token(scope, str(refused))) from refused
        except DatabaseAway as error:
            raise Answered(database_away(scope, error)) from error
        return f"tenant {tenant_id}"

    async def _caller_of(self, scope: Scope, block: str) -> ProvenCaller | None:
        if scope["path"].startswith("/cron/"):
            return self._proofs.of_cron(scope)
        if not scope["path"].startswith("/api/"):
            return None
        ours = find(scope, GateServices)
        try:
            return await self._proofs.of_caller(scope, block, ours.user_tokens, ours.look_ups)
        except DatabaseAway as error:
            away = error_response(503, "database_away", str(error), {"Retry-After": "5"})
            raise Answered(away) from error

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


def _look_ups(scope: Scope) -> Database:
    return find(scope, GateServices).look_ups


def _require(wait: int | None) -> None:
    if wait is not None:
        raise TooMuch(429, "too_many_calls", f"too many calls: wait {wait} seconds", wait)


def _is_short(scope: Scope) -> bool:
    declared = Headers(scope=scope).get("content-length", "")
    return declared.isascii() and declared.isdigit() and int(declared) <= SHORT_FLOW


def _tenant_of(scope: Scope) -> str:
    """Return the tenant that a call is about, parsed like in the endpoints: `01` is `1`."""
    path: str = scope["path"]
    if path.startswith(_TENANTS):
        return _number(path[len(_TENANTS) :].partition("/")[0])
    query: bytes = scope["query_string"]
    return _number(parse_qs(query.decode("latin-1")).get("tenant_id", [""])[-1])


def _number(text: str) -> str:
    try:
        return str(_NUMBER.validate_python(text))  # all digits: cut, it would be another tenant
    except ValidationError:
        return ""
