"""A receiver of webhooks that records what it gets, and answers as it is told."""

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.server import LoopbackServer
from loopback.waiting import Changes, Gate


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its path, its headers (in lower case) and its JSON."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def event(self) -> str:
        """The event's name."""
        return str(self.body["event"])

    @property
    def data(self) -> Any:
        """The event's data."""
        return self.body["data"]


class WebhookReceiver(LoopbackServer):
    """Takes POST requests on any path; answers 200 {} except the statuses in `statuses`."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.received: list[Received] = []
        self.statuses: list[int] = []
        """The statuses of the next answers, in order; after them, 200."""
        self.says: dict[str, str] = {}
        """The JSON of its answers."""
        self._gate: Gate | None = None
        route = Route("/{path:path}", self._take, methods=["POST"])
        super().__init__(Starlette(routes=[route]))

    def hold(self) -> Gate:
        """Record every request from now on, but answer none until the gate is opened."""
        self._gate = Gate(self.changes, "the gate before the answer to a webhook")
        return self._gate

    async def gets(self, number: int = 1) -> list[Received]:
        """Wait until there have been this many requests, and return all."""
        return await self.changes.until(
            lambda: self.received[:] if len(self.received) >= number else [],
            f"{number} webhook(s)",
        )

    async def _take(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        with self.changes.made():
            self.received.append(Received(request.url.path, dict(request.headers), body))
            status = self.statuses.pop(0) if self.statuses else 200
        if self._gate is not None:
            await self._gate.pass_through()
        return JSONResponse({"taken": status == 200, **self.says}, status_code=status)
