"""A large response, and the memory that it holds until it has been read.

A server keeps what it was given until the other end has read it, however long that takes. So it
gets a piece at a time, and a reader that is too slow is disconnected.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.http.cutting import cut_and_see

_PIECE = 65_536  # bytes; as many as a server takes before it lets its caller wait


@dataclass(frozen=True, slots=True)
class Reading:
    """A response must be read within `seconds`, and one more for each `bytes_a_second` it has."""

    seconds: float = 20.0
    bytes_a_second: int = 50_000


class HeldAnswer(Response):
    """The response; when it is read, or was not in time, `let_go` is called."""

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
        """Give it, a piece after the other."""
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
