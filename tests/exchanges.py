"""A server that says bytes as they are, plainly or by TLS, and remembers what it was asked."""

import asyncio
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from loopback.connections import serving
from router.configuration.addresses import Allowed
from router.outbound.bounds import current
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.outbound.line import Line as OurLine
from router.outbound.names import Resolve

HERE = Allowed.of(("127.0.0.0/8", "::1"))
OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding: *chunked")


class Line:
    """One connection, as the server has it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.number = number
        self.heads: list[bytes] = []
        self.requests: list[bytes] = []
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self.gone = asyncio.Event()  # the other side has closed it

    async def begin(self) -> None:
        """Do what comes before the first request."""

    async def hear(self) -> bytes:
        """Return the next request, whole; ends the talk where there is none."""
        rest = await self.hear_head()
        length = _LENGTH.search(self.heads[-1])
        size = int(length[1]) if length else 0
        while len(rest) < size:
            more = await self._more()
            rest += more
        if _CHUNKED.search(self.heads[-1]):
            while not rest.endswith(b"0\r\n\r\n"):
                more = await self._more()
                rest += more
            size = len(rest)
        self._rest = rest[size:]
        self.requests.append(self.heads[-1] + rest[:size])
        return self.requests[-1]

    async def hear_head(self) -> bytes:
        """Note the next request's head; return what of its body is there."""
        came = self._rest
        while b"\r\n\r\n" not in came:
            more = await self._more()
            came += more
        head, end, rest = came.partition(b"\r\n\r\n")
        self.heads.append(head + end)
        self._rest = rest
        return rest

    async def hear_some(self) -> None:
        """Take a little more of what comes."""
        await self._reader.read(9000)

    async def say(self, answer: bytes) -> None:
        """Say so much, as soon as it is listened to."""
        self._writer.write(answer)
        await self._writer.drain()

    def say_now(self, answer: bytes) -> None:
        """Say it at once: it is there before the event loop has turned."""
        assert os.write(self._file(), answer) == len(answer)

    def shut(self) -> None:
        """Say at once that no more will come."""
        with socket.fromfd(self._file(), socket.AF_INET, socket.SOCK_STREAM) as own:
            own.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End it as a program does that has died."""
        with socket.fromfd(self._file(), socket.AF_INET, socket.SOCK_STREAM) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def pause(self) -> None:
        """Read nothing from here on."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def ended(self) -> None:
        """Return when nothing comes any more, whether that is because the other side closed it."""
        while await self._read():
            pass

    def _file(self) -> int:
        return int(self._writer.get_extra_info("socket").fileno())

    async def _more(self) -> bytes:
        if not (more := await self._read()):
            raise ConnectionResetError
        return more

    async def _read(self) -> bytes:
        came = b""
        try:
            came = await self._reader.read(65536)
        finally:
            if not came:
                self.gone.set()
        return came


class SecretLine(Line):
    """A connection under TLS, made by hand: asyncio's own would not end it without a farewell."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(reader, writer, number)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def begin(self) -> None:
        """Shake hands."""
        await self.shake_hands()
        await self._flush()

    async def shake_hands(self) -> None:
        """Shake hands, but keep back what TLS 1.3 has for later: its tickets."""
        while True:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                break
            await self._flush()
            self._in.write(await super()._read() or b"\0")

    async def say(self, answer: bytes, *, farewell: bool = False) -> None:
        """Say so much, and where it is the last, say so (close_notify)."""
        if answer:
            self.tls.write(answer)
        if farewell:
            with suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        await self._flush()

    async def _read(self) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not (came := await super()._read()):
                    return b""
                self._in.write(came)
            except ssl.SSLZeroReturnError:
                return b""

    async def _flush(self) -> None:
        self._writer.write(self._out.read())
        await self._writer.drain()


@dataclass
class Server:
    """What a server was asked, and over which connections."""

    port: int = 0
    lines: list[Line] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is, without TLS."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def asked(self) -> int:
        """How many requests have begun."""
        return sum(len(line.heads) for line in self.lines)

    @property
    def requests(self) -> list[bytes]:
        """All that came whole."""
        return [request for line in self.lines for request in line.requests]


Talk = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def server(
    talk: Talk, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """Serve so on each connection, until the talk about it ends."""
    seen = Server()

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(seen.lines)
        line = SecretLine(reader, writer, number, tls) if tls else Line(reader, writer, number)
        seen.lines.append(line)
        with suppress(ssl.SSLError):
            await line.begin()
            await talk(line)

    async with serving(talks, host) as seen.port:
        yield seen


async def friendly(line: Line) -> None:
    """Answer each request with the number of the connection."""
    while True:
        await line.hear()
        number = str(line.number).encode()
        await line.say(OK + b"Content-Length: %d\r\n\r\n%b" % (len(number), number))


def first(talk: Talk) -> Talk:
    """Return how a server talks whose first connection is special, and all others are friendly."""

    async def talks(line: Line) -> None:
        await (friendly if line.number else talk)(line)

    return talks


@asynccontextmanager
async def client(
    seconds: float = 5.0,
    *,
    allowed: Allowed = HERE,
    resolve: Resolve | None = None,
    limit: int = 8,
) -> AsyncIterator[httpx.AsyncClient]:
    """The client of tenants' URLs; when it is closed, no request may be under way."""
    transport = CheckedTransport(allowed, resolve, limit=limit)
    async with client_over(transport, seconds) as http:
        yield http
    assert transport.in_flight == 0


def resolving(*addresses: str) -> Resolve:
    """Return a name service that has these addresses for each name."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


def stand_still(monkeypatch: pytest.MonkeyPatch, seconds: float, times: int = 1) -> None:
    """Let the router stand still for so long right before the first byte of the next requests.

    No time passes for anything else: the request's own time to begin comes nearer.
    """
    has_connection, left = OurLine.set_response_params, iter(range(times))

    def stands_still(line: OurLine, **given: object) -> None:
        has_connection(line, **given)
        bounds = current.get()
        if bounds is not None and bounds.begin_by is not None and next(left, None) is not None:
            bounds.begin_by -= seconds

    monkeypatch.setattr(OurLine, "set_response_params", stands_still)


def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function after which the whole process has stood still for so many seconds.

    The time-outs of the event loop that have run out meanwhile end in its next round.
    """
    real, passed = time.monotonic, 0.0

    def stood_still(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    def now() -> float:
        return real() + passed

    monkeypatch.setattr(time, "monotonic", now)
    for name in ("router.outbound.transport", "router.n8n.turn_fence"):
        monkeypatch.setattr(f"{name}.monotonic", now)
    return stood_still
