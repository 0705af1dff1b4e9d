"""A stage whose turns go to flows that answer, of which the test is n8n."""

from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.receiver import Received
from loopback.server import LoopbackServer
from loopback.waiting import Changes, Gate

Says = Response | object | Callable[[Any], object]


class AnsweringN8n(LoopbackServer):
    """Answers each turn with the next of `answers`, and with the last one from then on.

    Refuses what comes without the key, as n8n does: by that it is known to be there.
    """

    def __init__(self) -> None:
        self.changes = Changes()
        self.received: list[Received] = []
        self.answers: deque[Says] = deque([{"text": "Oi!"}])
        self._gate: Gate | None = None
        route = Route("/{path:path}", self._take, methods=["POST"])
        super().__init__(Starlette(routes=[route]))

    def says(self, *answers: Says) -> None:
        """Set what it answers: JSON, a response, or what a payload is answered with."""
        self.answers = deque(answers)

    def hold(self) -> Gate:
        """Note every turn from now on, but do not answer it until the gate is opened."""
        self._gate = Gate(self.changes, "the gate before a flow's answer")
        return self._gate

    async def gets(self, number: int = 1) -> list[Received]:
        """Wait until there have been so many turns, and return all."""
        return await self.changes.until(
            lambda: self.received[:] if len(self.received) >= number else [], f"{number} turn(s)"
        )

    async def _take(self, request: Request) -> Response:
        if "x-n8n-api-key" not in request.headers:
            return Response("Authorization data is wrong!", status_code=403)
        body = orjson.loads(await request.body())
        with self.changes.made():
            self.received.append(Received(request.url.path, dict(request.headers), body))
            answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if self._gate is not None:
            await self._gate.pass_through()
        said = answer(body) if callable(answer) and not isinstance(answer, Response) else answer
        return said if isinstance(said, Response) else JSONResponse(said)
