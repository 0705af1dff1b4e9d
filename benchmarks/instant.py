"""An LLM and an Evolution that answer at once, for measuring only the router.

They cost as little as possible: one event loop, no framework. They record when each number got its
replies, and which questions reached the LLM in which order. They can be away: then nothing listens
on their ports, as if the server were down.
"""

import asyncio
import json
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

_Answer = tuple[int, dict[str, Any]]


class _Exchanges(asyncio.Protocol):
    """One keep-alive connection: requests with a Content-Length, answered in their order."""

    def __init__(self, door: "_Door") -> None:
        self._door = door
        self._read = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._door.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._door.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            whole = end + 4 + _content_length(head)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            path = head.split(b" ", 2)[1].decode("ascii")
            delay = self._door.delay(path)
            answer = self._door.answer(path, body)
            if delay:
                asyncio.get_running_loop().call_later(delay, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: _Answer) -> None:
        status, said = answer
        content = json.dumps(said).encode()
        self._transport.write(
            b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(content), content)
        )


@dataclass(slots=True)
class _Door:
    """A port on loopback that answers, or on which nothing listens."""

    answer: Callable[[str, bytes], _Answer]
    delay: Callable[[str], float]
    port: int = 0
    connections: set[asyncio.Transport] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: _Exchanges(self), "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self.server is None:
            return
        self.server.close()
        for transport in list(self.connections):
            transport.abort()
        await self.server.wait_closed()
        self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Outside:
    """The LLM and the Evolution. `llm_seconds`: how long the LLM takes for each question."""

    def __init__(self, llm_seconds: float = 0.0) -> None:
        self.llm_seconds = llm_seconds
        self.media = b""
        """The content of all media of Evolution."""
        self.replied: defaultdict[str, list[float]] = defaultdict(list)
        """When each number got its replies, by time.perf_counter()."""
        self.asked: list[bytes] = []
        """The questions to the LLM, in order."""
        self.llm = _Door(self._complete, lambda _: self.llm_seconds)
        self.evolution = _Door(self._evolve, lambda _: 0.0)
        self._sent = 0
        self._ears: list[Callable[[str], None]] = []

    async def __aenter__(self) -> Self:
        await self.llm.open()
        await self.evolution.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.llm.close()
        await self.evolution.close()

    def hear(self, ear: Callable[[str], None]) -> None:
        """Call `ear` with the number of each reply."""
        self._ears.append(ear)

    def forget(self) -> None:
        """Clear all records."""
        self.replied.clear()
        self.asked.clear()
        self._sent = 0
        self._ears.clear()

    async def until(self, replies: int) -> None:
        """Wait until there are this many replies in all, since the start or the last `forget`."""
        enough = asyncio.Event()

        def count(_: str) -> None:
            if self._sent >= replies:
                enough.set()

        self.hear(count)
        count("")
        await enough.wait()

    @property
    def replies(self) -> int:
        """The number of messages that were sent."""
        return self._sent

    def twice(self, most: int = 1) -> int:
        """Return how many replies there were beyond `most` for each number."""
        return sum(max(0, len(times) - most) for times in self.replied.values())

    def _complete(self, path: str, body: bytes) -> _Answer:
        del path
        self.asked.append(body)
        return 200, {
            "id": f"msg_{len(self.asked)}",
            "type": "message",
            "role": "assistant",
            "model": "instant",
            "content": [{"type": "text", "text": "Temos sim, de milho e de cenoura."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 40, "output_tokens": 10},
        }

    def _evolve(self, path: str, body: bytes) -> _Answer:
        method = path.split("/")[2]
        if method == "findMessages":
            return 200, {"messages": {"total": 0, "pages": 0, "currentPage": 1, "records": []}}
        if method == "getBase64FromMediaMessage":
            return 201, {"mimetype": "audio/ogg", "base64": b64encode(self.media).decode()}
        if method != "sendText":
            return 200, {"instance": {"state": "open"}}
        number = str(json.loads(body)["number"]).partition("@")[0]
        self._sent += 1
        self.replied[number].append(time.perf_counter())
        for ear in self._ears:
            ear(number)
        key = {"id": f"BAE5{time.time_ns():016X}{self._sent:04X}", "fromMe": True}
        jid = f"{number}@s.whatsapp.net"
        return 201, {"key": {**key, "remoteJid": jid}, "status": "PENDING"}


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0
