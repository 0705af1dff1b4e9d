"""HTTP exchanges, each within its bounds, over aiohttp's connections.

The transports of httpx (`transport.py`) and of the LLMs' SDKs are thin layers over this. For a
request, aiohttp's connections and parser (`line.py`) take a third of the CPU that httpx's own take.
"""

import asyncio
import encodings.idna  # noqa: F401 - Python would load it within the first call
import functools
import io
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from router.outbound.bounds import HEADS_AND_FRAMES, Bounds, current
from router.outbound.line import Line
from router.outbound.punctual import Request
from router.outbound.trust import trusted
from router.outbound.unread import Unread

FAILURES = (aiohttp.ClientError, OSError, ValueError, OverflowError, ExceptionGroup)
"""What aiohttp, TLS, the system and the event loop raise; TimeoutError is an OSError."""

# Less than the 5 s after which Node's servers (Evolution, n8n) close an idle connection.
_IDLE_SECONDS = 4.0
_READ_AHEAD = 64 * 1024  # bytes that may arrive before the body's reader asks for them
_AT_ONCE = 16 * 1024  # bytes of a body that are read before other work runs
_WRITTEN_WHOLE = 256 * 1024  # bytes; aiohttp writes longer bodies in pieces
_WORD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Headers that aiohttp would add by itself; the callers add what is needed.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_IN_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Unsayable(ValueError):
    """The request cannot be written; not even its head was sent."""


class Exchanges:
    """An aiohttp session, opened by the first exchange, with as many connections as needed."""

    def __init__(self, resolver: AbstractResolver) -> None:
        """The resolver finds the addresses of a name. An IP address in a URL is not resolved."""
        self._resolver = resolver
        self._trusted = trusted()
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | AsyncIterable[bytes],
        bounds: Bounds,
    ) -> aiohttp.ClientResponse:
        """Return the response as soon as its head has arrived; the body is unread and still packed.

        After a failure, `bounds` says whether anything may have been sent. Raises FAILURES,
        httpx.ReadError if more arrives than allowed, and what a body in pieces raises.
        """
        said = _as_text(headers)
        asked = body if isinstance(body, bytes) else _Upload(body, _length(said))
        within = current.set(bounds)
        try:
            while (answer := await self._ask_once(method, url, said, asked, bounds)) is None:
                pass
        except FAILURES:
            if isinstance(asked, _Upload) and asked.broke is not None:
                raise asked.broke from None
            raise
        finally:
            current.reset(within)
        if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
            answer.close()
            raise aiohttp.ClientPayloadError("it goes on in another protocol")
        return answer

    async def close(self) -> None:
        """Close all connections, also those that are in use."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask_once(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: "bytes | _Upload",
        bounds: Bounds,
    ) -> aiohttp.ClientResponse | None:
        """Return the response, or None if the kept connection is gone, and nothing was sent on it.

        Each time there is one kept connection less; a new one is not called gone.
        """
        session, bounds.is_gone = self._session or self._opened(), False
        try:
            return await session.request(
                _word(method.encode()),
                URL(url, encoded=True),
                headers=headers,
                data=body if isinstance(body, _Upload) else _written(body),
                allow_redirects=False,
                # Never rounded up to whole seconds.
                timeout=aiohttp.ClientTimeout(
                    total=bounds.left,
                    connect=bounds.left_to_connect,
                    ceil_threshold=float("inf"),
                ),
            )
        except FAILURES:
            if bounds.is_gone:
                return None
            raise

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the places limit the connections
            ssl=self._trusted,
            resolver=self._resolver,
            use_dns_cache=False,
            keepalive_timeout=_IDLE_SECONDS,
        )
        line: Callable[..., ResponseHandler] = Line
        # aiohttp has no setting for the class of its connections; it creates them only by this
        # factory.
        connector._factory = functools.partial(  # noqa: SLF001
            line, loop=asyncio.get_running_loop(), unread=Unread()
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            read_bufsize=_READ_AHEAD,
            # A line of a head may be as long as the head.
            max_line_size=HEADS_AND_FRAMES,
            max_field_size=HEADS_AND_FRAMES,
        )
        self._session._retry_connection = False  # noqa: SLF001 - the request may have been done
        return self._session


async def next_piece(answer: aiohttp.ClientResponse, bounds: Bounds) -> bytes:
    """Return some bytes of the body, or none at its end. Raises FAILURES, and AnswerTooLong."""
    piece = await answer.content.read(_AT_ONCE)
    if piece:
        bounds.count_body(len(piece))
    return piece


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return headers in the form that aiohttp takes. Raises Unsayable.

    aiohttp would raise, too, but only when it has a connection: then it is unknown whether anything
    was sent.
    """
    return [
        (_word(name), _decoded(value))
        for name, value in headers
        if name.lower() != b"transfer-encoding"  # aiohttp adds it itself
    ]


@functools.lru_cache(maxsize=256)
def _word(name: bytes) -> str:
    """Return a method or a header's name. Raises Unsayable."""
    if not _WORD.fullmatch(name):
        raise Unsayable("a method or the name of a header")
    return name.decode("ascii")


def _decoded(value: bytes) -> str:
    if _IN_NO_VALUE.search(value):
        raise Unsayable("what a header holds")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")


def _length(headers: Iterable[tuple[str, str]]) -> int | None:
    said = (value for name, value in headers if name.lower() == "content-length")
    return int(length) if (length := next(said, None)) is not None else None


def _written(body: bytes) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if len(body) > _WRITTEN_WHOLE else body or None


class _Upload:
    """A body in pieces that must have the declared length; `broke` is what ended it early.

    A piece is only sent when the next one is there. So a server never gets a complete request if
    the body turns out to be too long.
    """

    def __init__(self, pieces: AsyncIterable[bytes], length: int | None) -> None:
        self.broke: Exception | None = None
        self._pieces = pieces
        self._left = length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        try:
            async for piece in self._pieces:
                self._count(len(piece))
                if held:
                    yield held
                held = piece
            self._end()
            if held:
                yield held
        except Exception as error:
            self.broke = error
            raise

    def _count(self, came: int) -> None:
        if self._left is None:
            return
        self._left -= came
        if self._left < 0:
            raise Unsayable("a body that is longer than its Content-Length")

    def _end(self) -> None:
        if self._left:
            raise Unsayable("a body that is shorter than its Content-Length")
