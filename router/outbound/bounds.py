"""Limits the time of a whole exchange, and the bytes of its response.

httpx's timeouts are for each read: a server that sends a byte now and then never reaches one. Here
an exchange has a total time, from connecting to the last byte.
"""

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass

import httpx

LONGEST_ANSWER = 4 * 1024 * 1024  # bytes of a body, both packed and unpacked
# Bytes on the line besides the body: the head, and a fifth of the body for the chunks' frames.
# Chunks of one byte each would cost a hundred times as much work as the body alone.
HEADS_AND_FRAMES = 16 * 1024
_FRAMES = 5
SLICE = 64 * 1024
"""Bytes that are unpacked before other work runs."""
# The cost, in bytes read, of a line of a head and of a piece of a body: parsing a thousand of them
# takes as long as reading megabytes.
_OF_A_LINE = 1024
_OF_A_PIECE = 2048
_LINES = 64  # lines of a head that cost nothing; no normal head has more
ENCODINGS = "gzip"
"""The only encodings that may be requested: those that are unpacked here."""
_STANDSTILL = 1.0  # seconds; a time-out only ends so late if this process stood still


class AnswerTooLong(httpx.ReadError):
    """The response is longer than allowed; asking again gives the same result."""


class NotBegunInTime(httpx.ConnectTimeout):
    """The time by which the request had to begin was over before its first byte: nothing was sent.

    It says nothing about the server.
    """

    def __init__(self, request: httpx.Request) -> None:
        super().__init__("the request could not begin in time", request=request)


class NotHeardInTime(httpx.ReadTimeout):
    """This process stood still until the time for the answer was over; it may have come.

    It says nothing about the server.
    """

    def __init__(self, request: httpx.Request) -> None:
        super().__init__("this process stood still while it waited for the answer", request=request)


def slept_through(end: float) -> bool:
    """Whether a time-out that was to end then (monotonic) ended long after, as it ends now."""
    return time.monotonic() > end + _STANDSTILL


@dataclass(slots=True)
class Bounds:
    """What is left for one exchange: the time until `ends_at` (monotonic), and bytes of its body.

    A connection must be open by `opens_by`. `work` is the cost of the head and of the frames of the
    body, in bytes. `has_line` is set when the exchange has a connection: from then on the request
    may have been sent. A request with a body is not written after `begin_by` (monotonic), which
    `is_late` says, nor on a kept connection that the server has closed, which `is_gone` says.
    """

    ends_at: float
    longest: int
    opens_by: float
    begin_by: float | None = None
    has_line: bool = False
    is_late: bool = False
    is_gone: bool = False
    came: int = 0
    of_body: int = 0
    work: int = 0
    lines: int = 0

    @classmethod
    def within(
        cls,
        seconds: float,
        longest: int,
        connect: float | None = None,
        begin_by: float | None = None,
    ) -> "Bounds":
        """Return the bounds of an exchange that begins now, and connects within `connect`."""
        now = time.monotonic()
        opens_by = now + (seconds if connect is None else min(connect, seconds))
        return cls(now + seconds, longest, opens_by, begin_by)

    def may_begin(self) -> bool:
        """Whether the request may still be written; call this right before it is."""
        if self.begin_by is not None and time.monotonic() > self.begin_by:
            self.is_late = True
        return not self.is_late

    @property
    def left(self) -> float:
        """How many seconds are left to wait."""
        return max(self.ends_at - time.monotonic(), 0.001)

    @property
    def left_to_connect(self) -> float:
        """How many seconds are left until a connection must be open."""
        return max(self.opens_by - time.monotonic(), 0.001)

    @property
    def were_slept_through(self) -> bool:
        """Whether this process stood still while the time that has just run out ended."""
        return slept_through(self.ends_at if self.has_line else self.opens_by)

    def allows(self, came: bytes, body: int) -> bool:
        """Count received bytes. Return False if too many of them are not the body's.

        `body` is how many of these bytes belong to the body.
        """
        self.came += len(came)
        if not body:
            before = max(self.lines, _LINES)
            self.lines += came.count(b"\n")
            self.work += _OF_A_LINE * max(0, self.lines - before)
        return self.came - body <= HEADS_AND_FRAMES + body // _FRAMES

    def end(self) -> None:
        """Note that nobody reads the body any more."""
        self.of_body = max(self.of_body, self.came)

    def count_body(self, came: int) -> None:
        """Count bytes of the body. Raises AnswerTooLong."""
        self.of_body += came
        self.work += _OF_A_PIECE
        if self.of_body > self.longest:
            raise AnswerTooLong(f"its answer is longer than {self.longest} bytes")


current: ContextVar[Bounds | None] = ContextVar("bounds", default=None)


def unpacking(
    headers: MutableMapping[str, str], longest: int
) -> Callable[[bytes], Iterable[bytes]]:
    """Return a function that unpacks a body piece by piece, by its headers; remove those headers.

    Each piece becomes slices of at most SLICE bytes. A slice is only made when the previous one has
    been taken, so that other work can run in between. Raises httpx.DecodingError for an encoding
    that was not requested. The function raises it for a body that cannot be unpacked, and
    AnswerTooLong for one that becomes longer than `longest` bytes.
    """
    encoding = headers.pop("content-encoding", "identity").strip().lower() or "identity"
    if encoding == "identity":
        return as_it_is
    if encoding not in ("gzip", "x-gzip"):
        raise httpx.DecodingError(f"its answer is encoded as {encoding[:40]!r}, unasked")
    headers.pop("content-length", None)
    return _Unpacked(longest).unpack


def as_it_is(piece: bytes) -> Iterable[bytes]:
    """Return a piece of an unpacked body; it is never longer than one read."""
    return (piece,)


class _Unpacked:
    def __init__(self, longest: int) -> None:
        self._longest = self._left = longest
        self._begun = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """Unpack a piece, but never more than what is left plus one byte."""
        # Bytes after the end are ignored: zlib would keep them, and copy them with each piece.
        while not self._begun.eof:
            most = min(SLICE, self._left + 1)
            try:
                out = self._begun.decompress(piece, most)
            except zlib.error as error:
                raise httpx.DecodingError(f"its answer cannot be unpacked: {error}") from error
            self._left -= len(out)
            if self._left < 0:
                raise AnswerTooLong(f"its answer is longer than {self._longest} bytes")
            yield out
            piece = self._begun.unconsumed_tail
            if not piece and len(out) < most:
                return
