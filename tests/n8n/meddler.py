"""Stands between n8n and the router and loses or doubles what flows report."""

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loopback.server import LoopbackServer
from tests.clients import patient


class Meddler(LoopbackServer):
    """Passes requests on to `target`, but by the last word of their path some fare ill.

    Those in `lost` never arrive; the answers to those in `unanswered` are lost; those in `doubled`
    arrive twice. `passed` has the last words of all that arrived.
    """

    def __init__(self) -> None:
        super().__init__(Starlette(routes=[Route("/{path:path}", self._pass, methods=["POST"])]))
        self.target = ""
        self.lost: set[str] = set()
        self.unanswered: set[str] = set()
        self.doubled: set[str] = set()
        self.passed: list[str] = []

    async def _pass(self, request: Request) -> Response:
        name = request.url.path.rsplit("/", 1)[-1]
        if name in self.lost:
            return Response("lost", status_code=502)
        for _ in range(2 if name in self.doubled else 1):
            answer = await self._forward(request)
            self.passed.append(name)
        if name in self.unanswered:
            return Response("the answer is lost", status_code=502)
        return Response(answer.content, answer.status_code, media_type="application/json")

    async def _forward(self, request: Request) -> httpx.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in ("apikey", "content-type")
        }
        async with patient(base_url=self.target) as client:
            return await client.post(
                request.url.path, content=await request.body(), headers=headers
            )
