"""The gate that every call passes, except webhooks, which have their own rules, and health checks.

First the call is admitted (`admission.py`), then its body is read, and only when the body is
complete the call takes one of the places. Too many calls at once: 503, or 429 if they are one
caller's; too often: 429; both with Retry-After. Too large: 413. Too slow: 408. Nested too deep, or
too many values: 422. All errors have the API's one format. Flows' requests to the gateway take
their places there, where the tenant is known.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.gate.admission import Admission, Admitted, Answered, CallLimits, Memory, Own
from router.gate.again import again, without_body
from router.gate.proofs import Proofs
from router.gate.unread import (
    answer_to_flow,
)
from router.http.bodies import TooMuch
from router.http.callers import Callers
from router.http.errors import error_response
from router.http.json_bounds import require_few_values, require_shallow_text
from router.sharing.at_once import AtOnce, TooManyAtOnce
from router.sharing.rates import Rates
from router.sharing.shares import Shares
from router.state.entrances import on_behalf_of

_EXEMPT = ("/webhook/", "/health")
_TENTH = 10  # this part of the places is reserved for the deployment's own callers
_AS_MANY_AS_ARE_FREE = 1.0
_CRON_AT_ONCE = 4


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
        self._admission = Admission(limits, rates, callers, memory, proofs, has_flows=has_flows)
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
            admitted = await self._admission.admit(scope)
            if admitted is None:
                await self._app(scope, without_body(receive), send)
            else:
                await self._pass_on(scope, receive, send, admitted)
        except TooMuch as too_much:
            is_flow = self._admission.is_of_flow(scope)
            answer = answer_to_flow(scope, too_much) if is_flow else _answer(too_much)
            await answer(scope, receive, send)
        except Answered as answered:
            await answered.answer(scope, receive, send)

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, admitted: Admitted
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
                    await self._app(scope, again(body, receive), noting)

    def _place(self, admitted: Admitted) -> AbstractContextManager[None]:
        """Take a place. Reports of flows have separate places, because they must not get lost."""
        match admitted.place:
            case None:
                return nullcontext()
            case Own.REPORTS:
                return _one_of(self._reports, "too many reports are being taken in: try again soon")
            case Own.CRON:
                return _one_of(self._cron, "cron is already running: wait until it is done")
            case holder:
                return self._place_of_caller(holder, 0 if admitted.is_ours else self._for_ours)

    @contextmanager
    def _place_of_caller(self, holder: str, left: int) -> Iterator[None]:
        """Take a place for calls. One holder has at most half of them, and less than are free.

        `left` places are reserved for the deployment's own callers.
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
                self._admission.forget(caller)
            await send(message)

        return noting


@contextmanager
def _one_of(places: AtOnce, busy: str) -> Iterator[None]:
    try:
        with places.taken(None):
            yield
    except TooManyAtOnce as error:
        raise TooMuch(503, "busy", busy, 1) from error


def _answer(too_much: TooMuch) -> Response:
    wait = too_much.retry_after
    headers = None if wait is None else {"Retry-After": str(wait)}
    return error_response(too_much.status, too_much.code, str(too_much), headers)
