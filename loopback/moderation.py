"""A moderation service: it objects to chosen words, or fails."""

import asyncio
from typing import Literal

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from loopback.receiver import Received
from loopback.server import LoopbackServer

Trouble = Literal["hangs", "breaks", "babbles", "redirects", "floods"]


class ModerationService(LoopbackServer):
    """Answers POST requests on any path."""

    def __init__(self) -> None:
        self.asked: list[Received] = []
        self.speaks_openai = False
        """Whether it answers in the format of OpenAI's service."""
        self.trouble: Trouble | None = None
        self.waits_for = 1
        """How many requests must have come before any is answered."""
        self._enough = asyncio.Event()
        self._words: dict[str, str] = {}
        route = Route("/{path:path}", self._take, methods=["POST"])
        super().__init__(Starlette(routes=[route]))

    def objects_to(self, word: str, reason: str) -> None:
        """Object to every text with this word."""
        self._words[word] = reason

    async def _take(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        self.asked.append(Received(request.url.path, dict(request.headers), body))
        if len(self.asked) >= self.waits_for:
            self._enough.set()
        await self._enough.wait()
        match self.trouble:
            case "hangs":
                await asyncio.sleep(3)
            case "breaks":
                return JSONResponse({"error": "out of order"}, status_code=500)
            case "babbles":
                return Response("<html>welcome</html>")
            case "redirects":
                return RedirectResponse(f"{self.url}/elsewhere", status_code=307)
            case "floods":
                return Response(b" " * 1_000_000)
        reasons = [reason for word, reason in self._words.items() if word in body["input"]]
        if self.speaks_openai:
            categories = dict.fromkeys(reasons, True) | {"violence": False}
            return JSONResponse({"results": [{"flagged": bool(reasons), "categories": categories}]})
        if reasons:
            return JSONResponse({"allowed": False, "reason": reasons[0]})
        return JSONResponse({"allowed": True})
