"""Customers who write and wait for the reply, and the routers to which they write."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from benchmarks.http_load import Line, connect, webhook_of
from benchmarks.instant import Outside
from benchmarks.serving import UNLIMITED, serving_process
from router.embedded.ports import free_port

T = TypeVar("T")
SECRET = "benchmark-secret-0000000000"
PATIENCE = 60.0
"""Seconds after which a message counts as unanswered."""


@asynccontextmanager
async def routers(
    number: int, dsn: str, outside: Outside, **more: str
) -> AsyncIterator[list[tuple[str, int]]]:
    """Start routers on one database, without limits; yield the URL and the process of each.

    The loopback services keep running while routers start and stop, so that their sends succeed.
    """
    configuration = {
        **UNLIMITED,
        "DATABASE_URL": dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET,
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "ANTHROPIC_API_KEY": "sk-ant-for-the-loopback",
        "ANTHROPIC_BASE_URL": outside.llm.url,
        "DEBOUNCE_SECONDS": "0",
        "TYPING_SECONDS": "0",
        "LLM_ATTEMPTS": "1",
        **more,
    }
    way = ("router.serving",)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                in_thread(serving_process(way, configuration, free_port()))
            )
            for _ in range(number)
        ]


@asynccontextmanager
async def in_thread(made: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context manager in a thread."""
    given = await asyncio.to_thread(made.__enter__)
    try:
        yield given
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


class Customers:
    """Customers of one router; each waits for its reply. Create it in `outside`'s event loop."""

    _numbers = count()

    def __init__(self, url: str, outside: Outside) -> None:
        self._url = url
        self._outside = outside
        self._waiting: dict[str, asyncio.Event] = {}
        self._lines: list[Line] = []
        outside.hear(self._replied)

    async def ask(
        self,
        instance: str,
        phone: str,
        text: str = "oi, tem bolo?",
        taken: Callable[[], None] = lambda: None,
    ) -> float | None:
        """Write as one customer. Returns the seconds until the reply; None: there was none.

        `taken` is called when the router has accepted the message.
        """
        heard = self._waiting[phone] = asyncio.Event()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.write(instance, phone, text)
                taken()
                await heard.wait()
        except TimeoutError:
            return None
        finally:
            del self._waiting[phone]
        return self._outside.replied[phone][-1] - began

    async def write(self, instance: str, phone: str, text: str, *, ago: float = 0.0) -> None:
        """Write, and return when the router has accepted it. Raises SystemExit if it does not."""
        await self.post(instance, webhook_of(phone, text, instance, next(self._numbers), ago=ago))

    async def post(self, instance: str, body: bytes) -> None:
        """Post a webhook. Raises SystemExit if it is not accepted."""
        target = urlsplit(f"{self._url}/webhook/{instance}")
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n"
            f"X-Webhook-Secret: {SECRET}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        answer = await self._exchange(target, head.encode() + body)
        if answer != "200":
            raise SystemExit(f"a webhook was answered with {answer} by {self._url}")

    async def _exchange(self, target: SplitResult, request: bytes) -> str:
        while self._lines:
            line = self._lines.pop()
            try:
                answer = await line.ask(request)
            except (OSError, asyncio.IncompleteReadError):
                await line.close()  # the connection was idle for too long
            else:
                self._lines.append(line)
                return answer
        line = await connect(target)
        answer = await line.ask(request)
        self._lines.append(line)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.close()

    def _replied(self, phone: str) -> None:
        if (waiting := self._waiting.get(phone)) is not None:
            waiting.set()
