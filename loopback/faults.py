"""Faults on demand: what happens to a call in place of its response, before or after its effect.

"Before" means that nothing was accepted: no message is on the phone, and nothing is stored. "After"
means that the call did its work; only the response is lost, cut, late or wrong.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loopback.waiting import Changes, Gate


class Unheard(Response):
    """The end of a call whose client got no answer."""


def heard_status(response: Response) -> int | None:
    """Return the status that the client got; None if it got no answer."""
    return None if isinstance(response, Unheard) else response.status_code


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of one call. The functions below make them."""

    kind: Literal["answer", "hang", "cut", "slow", "alter"]
    after: bool = False
    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    alter: Callable[[Any], Any] = lambda body: body

    async def strike(self, request: Request, response: Response | None) -> Response:
        """Apply the fault; `response` is the correct answer, if there is one already."""
        match self.kind:
            case "hang":
                await _gone(request)
                return Unheard()
            case "cut":
                request.state.transport.abort()
                await _gone(request)
                return Unheard()
            case "slow":
                await asyncio.sleep(self.seconds)
            case "alter" if response is not None:
                body = self.alter(orjson.loads(bytes(response.body)))
                return JSONResponse(body, status_code=response.status_code)
            case "answer":
                headers = dict(self.headers)
                return JSONResponse(self.body, status_code=self.status, headers=headers)
        return response or Response()


def hang(*, after: bool = False) -> Fault:
    """Return the fault of a call that gets no answer; the client's time-out ends it."""
    return Fault("hang", after)


def cut(*, after: bool = False) -> Fault:
    """Return the fault of a connection that is cut."""
    return Fault("cut", after)


def slow(seconds: float) -> Fault:
    """Return the fault of a correct answer that comes late."""
    return Fault("slow", after=True, seconds=seconds)


def altered(alter: Callable[[Any], Any]) -> Fault:
    """Return the fault of an answer whose JSON `alter` has changed."""
    return Fault("alter", after=True, alter=alter)


def wrong_answer(
    status: int,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    after: bool = False,
) -> Fault:
    """Return the fault of a wrong answer."""
    return Fault("answer", after, status=status, body=body, headers=headers or {})


async def _gone(request: Request) -> None:
    """Wait until the client has given up, or the connection is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class FaultPlan:
    """The planned faults of each endpoint's calls, in order, and the gates that hold calls."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._next: defaultdict[str, list[Fault]] = defaultdict(list)
        self._always: dict[str, Fault] = {}
        self._gates: defaultdict[str, list[tuple[bool, Gate]]] = defaultdict(list)

    def fail(self, endpoint: str, fault: Fault, *, times: int | None = 1) -> None:
        """Let the next `times` calls fail with this fault; None: all, until `heal`.

        Faults with a count come first, in the order in which they were planned.
        """
        with self._changes.lock:
            if times is None:
                self._always[endpoint] = fault
            else:
                self._next[endpoint].extend([fault] * times)

    def heal(self, endpoint: str | None = None) -> None:
        """Remove the faults and open the gates of one endpoint or of all."""
        with self._changes.lock:
            gates = [
                gate
                for name, held in self._gates.items()
                for _, gate in held
                if endpoint in (None, name)
            ]
            for plan in (self._next, self._always, self._gates):
                if endpoint is None:
                    plan.clear()
                else:
                    plan.pop(endpoint, None)
        for gate in gates:
            gate.open()

    def hold(self, endpoint: str, *, after: bool = False) -> Gate:
        """Hold every call at this point, until the gate is opened."""
        point = "after" if after else "before"
        gate = Gate(self._changes, f"the gate {point} {endpoint} takes effect")
        with self._changes.lock:
            self._gates[endpoint].append((after, gate))
        return gate

    async def play(
        self, endpoint: str, request: Request, act: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Answer a call with `act`, or with its planned fault.

        The work that `act` leaves for after its answer (`response.background`) is done in any case.
        """
        with self._changes.lock:
            fault = self._claim(endpoint)
            gates = tuple(self._gates[endpoint])
        for after, gate in gates:
            if not after:
                await gate.pass_through()
        if fault is not None and not fault.after:
            return await fault.strike(request, None)
        response = await act()
        for after, gate in gates:
            if after:
                await gate.pass_through()
        if fault is None:
            return response
        late, response.background = response.background, None
        work = asyncio.ensure_future(late()) if late is not None else None
        answer = await fault.strike(request, response)
        if work is not None:
            await work
        return answer

    def _claim(self, endpoint: str) -> Fault | None:
        if waiting := self._next[endpoint]:
            return waiting.pop(0)
        return self._always.get(endpoint)
