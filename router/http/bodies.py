"""Bodies of requests, read within bounds: of time, of bytes, and of how many are on their way.

A body that comes drop by drop must not hold what others need, and bodies must not fill the memory
together. Whoever sends them: nobody is trusted to be quick.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from router.http.callers import Callers


class TooMuch(Exception):
    """A request goes beyond a limit: it is answered with this status and code."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Patience:
    """A body has `seconds` to come, and one more for each `bytes_a_second` that have come."""

    seconds: float = 20.0
    bytes_a_second: int = 50_000


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`arriving` bodies at once from one address; `held_bytes` of all bodies together.

    One sender (an instance, a caller) has half of the bytes. What was made of a body counts too.
    """

    arriving: int = 100
    held_bytes: int = 100_000_000
    patience: Patience = Patience()


class Bodies:
    """The bodies of one kind that a process is reading, or has read and not yet done with.

    Each kind (webhooks, calls, flows) has its own: whoever fills one keeps nothing of another out.
    """

    def __init__(self, limits: BodyLimits, callers: Callers) -> None:
        self._limits = limits
        self._callers = callers
        self._arriving: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._held_by_all = 0

    @asynccontextmanager
    async def reading(
        self, scope: Scope, receive: Receive, *, sender: str, most: int
    ) -> AsyncIterator[bytes]:
        """Read the whole body, of `most` bytes; its bytes are held until the block ends.

        Raises TooMuch, and ClientDisconnect where the caller went away first.
        """
        body = bytearray()
        try:
            await self._read(scope, receive, body, sender, most)
            yield bytes(body)
        finally:
            self._let_go(sender, len(body))

    @contextmanager
    def keeping(self, sender: str, number: int) -> Iterator[None]:
        """Count what was made of a body, of so many bytes, until the block ends. Raises TooMuch."""
        if number > self._limits.held_bytes // 2:
            raise TooMuch(413, "too_large", "what the body says takes too much memory")
        self._hold(sender, number)
        try:
            yield
        finally:
            self._let_go(sender, number)

    async def _read(
        self, scope: Scope, receive: Receive, body: bytearray, sender: str, most: int
    ) -> None:
        headers = Headers(scope=scope)
        declared = headers.get("content-length")
        if declared is None and "transfer-encoding" not in headers:
            return  # the server has seen that there is none
        too_large = TooMuch(413, "too_large", f"a body may have at most {most} bytes")
        if declared is not None and declared.isdigit() and int(declared) > most:
            raise too_large
        block = self._callers.block_of(scope)
        if self._arriving[block] >= self._limits.arriving:
            raise TooMuch(429, "too_many_at_once", "wait until your other bodies have arrived", 1)
        self._arriving[block] += 1
        try:
            await self._receive_all(receive, body, sender, most, too_large)
        except TimeoutError:
            message = "the body did not come in time: send it faster"
            raise TooMuch(408, "too_slow", message) from None
        finally:
            _take_off(self._arriving, block, 1)

    async def _receive_all(
        self, receive: Receive, body: bytearray, sender: str, most: int, too_large: TooMuch
    ) -> None:
        patience = self._limits.patience
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(patience.seconds) as deadline:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect  # half a request is none
                chunk = message.get("body", b"")
                if len(body) + len(chunk) > most:
                    raise too_large
                self._hold(sender, len(chunk))
                body += chunk
                if not message.get("more_body", False):
                    return
                granted = patience.seconds + len(body) / patience.bytes_a_second
                deadline.reschedule(began + granted)

    def _hold(self, sender: str, number: int) -> None:
        most = self._limits.held_bytes
        if self._held_by_all + number > most:
            raise TooMuch(503, "busy", "too many large bodies are being worked on: try again", 5)
        if self._held[sender] + number > most // 2:
            raise TooMuch(429, "too_many_at_once", "wait until your other bodies are done", 5)
        self._held[sender] += number
        self._held_by_all += number

    def _let_go(self, sender: str, number: int) -> None:
        self._held_by_all -= number
        _take_off(self._held, sender, number)


def _take_off(counter: Counter[str], name: str, number: int) -> None:
    counter[name] -= number
    if counter[name] <= 0:
        del counter[name]
