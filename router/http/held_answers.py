"""A large response, whose memory counts until the client has read it.

A server keeps the data that it gets until the client has read it, however long that takes. So it
gets a piece at a time, and a client that is too slow is disconnected.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.http.cutting import cut_and_see

_PIECE = 65_536  # bytes; the server accepts so many before it makes the application wait


@dataclass(frozen=True, slots=True)
class Reading:
    """The time to read a response: `seconds`, and one more for each `bytes_a_second` in it."""

    seconds: float = 20.0
    bytes_a_second: int = 50_000


class HeldAnswer(Response):
    """The response. When it was read, or was not read in time, `let_go` is called."""

    def __init__(
        self, answer: Response, let_go: Callable[[], None], reading: Reading | None = None
    ) -> None:
        super().__init__(status_code=answer.status_code)
        self.body = answer.body
        self.raw_headers = answer.raw_headers
        reading = reading or Reading()
        self._seconds = reading.seconds + len(self.body) / reading.bytes_a_second
        self._let_go = let_go

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, one piece after the other."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._give(send)
        except TimeoutError:
            await cut_and_see(scope, receive)
        finally:
            self._let_go()

    async def _give(self, send: Send) -> None:
        status = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **status})
        for start in range(0, len(self.body), _PIECE):
            piece = bytes(self.body[start : start + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
