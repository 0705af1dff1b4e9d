"""Reads request bodies with limits of time, of bytes, and of how many arrive at once.

A slow body must not block others, and all bodies together must not fill the memory. When memory is
short, slow bodies are dropped, whoever sends them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from router.http.callers import Callers


class TooMuch(Exception):
    """A request exceeds a limit; the response has this status and code."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Patience:
    """A body has `seconds` to arrive, and one more second for each `bytes_a_second` received.

    If there is no room for other bodies, it is only safe for `undisturbed` seconds.
    """

    seconds: float = 20.0
    bytes_a_second: int = 50_000
    undisturbed: float = 3.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits: `arriving` bodies at once from one address; `held_bytes` of all bodies together.

    One sender (an instance, a caller) gets at most half of the bytes. Data made from a body counts,
    too.
    """

    arriving: int = 100
    held_bytes: int = 100_000_000
    patience: Patience = Patience()


@dataclass(slots=True, eq=False)
class _Arrival:
    """An arriving body: when it began, and how much of it has arrived."""

    sender: str
    since: float
    deadline: asyncio.Timeout
    held: int = 0
    was_cut: bool = False


class LeavesOut(Protocol):
    """Passes a body on chunk by chunk, without a part of it."""

    def pass_on(self, chunk: bytes, *, is_last: bool) -> bytes:
        """Return what is kept of the chunk."""


_TIMES_WITHOUT = 150
"""How much larger than its limit a body may be if a part is left out; files may have 2 GB."""


@dataclass(slots=True)
class _Bound:
    """How much of a body is kept, what is left out of a larger one, and when it began to arrive."""

    most: int
    without: Callable[[], LeavesOut] | None
    sieve: LeavesOut | None = None

    def pass_on(self, body: bytearray, chunk: bytes, *, is_last: bool) -> bytes:
        """Return what is kept of the chunk; `body`, which arrived before, may be shortened."""
        if self.sieve is None:
            if len(body) + len(chunk) <= self.most or self.without is None:
                return chunk
            self.sieve = self.without()  # its length was not declared
            body[:] = self.sieve.pass_on(bytes(body), is_last=False)
        return self.sieve.pass_on(chunk, is_last=is_last)


class Bodies:
    """The bodies of one kind that a process is reading or still using.

    Each kind (webhooks, calls, flows) has its own limits, so a full one does not affect the others.
    """

    def __init__(self, limits: BodyLimits, callers: Callers) -> None:
        self._limits = limits
        self._callers = callers
        self._arriving: Counter[str] = Counter()
        self._arrivals: dict[_Arrival, None] = {}  # the oldest first
        self._held: Counter[str] = Counter()
        self._held_by_all = 0

    @asynccontextmanager
    async def reading(
        self,
        scope: Scope,
        receive: Receive,
        *,
        sender: str,
        most: int,
        without: "Callable[[], LeavesOut] | None" = None,
    ) -> AsyncIterator[bytes]:
        """Read the whole body, of at most `most` bytes; its bytes count until the block ends.

        If `without` is given, a larger body is read without the part that it leaves out. Raises
        TooMuch, and ClientDisconnect if the caller left first.
        """
        body = await self._read(scope, receive, sender, most, without)
        try:
            yield body
        finally:
            self._let_go(sender, len(body))

    @contextmanager
    def keeping(self, sender: str, number: int) -> Iterator[None]:
        """Count bytes that were made from a body until the block ends. Raises TooMuch."""
        if number > self._limits.held_bytes // 2:
            raise TooMuch(413, "too_large", "what the body says takes too much memory")
        with self.keeping_more(sender) as keep:
            keep(number)
            yield

    @contextmanager
    def keeping_more(self, sender: str) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes until the block ends; it raises TooMuch."""
        kept = 0

        def keep(number: int) -> None:
            nonlocal kept
            self._hold(sender, number)
            kept += number

        try:
            yield keep
        finally:
            self._let_go(sender, kept)

    async def _read(
        self,
        scope: Scope,
        receive: Receive,
        sender: str,
        most: int,
        without: "Callable[[], LeavesOut] | None",
    ) -> bytes:
        headers = Headers(scope=scope)
        declared = headers.get("content-length")
        if declared is None and "transfer-encoding" not in headers:
            return b""  # the server knows that there is no body
        too_large = TooMuch(413, "too_large", f"a body may have at most {most} bytes")
        bound = _Bound(most, without)
        if declared is not None and declared.isdigit() and int(declared) > most:
            if without is None or int(declared) > _TIMES_WITHOUT * most:
                raise too_large
            bound.sieve = without()
        block = self._callers.block_of(scope)
        if self._arriving[block] >= self._limits.arriving:
            raise TooMuch(429, "too_many_at_once", "wait until your other bodies have arrived", 1)
        self._arriving[block] += 1
        try:
            return await self._receive_all(receive, sender, bound, too_large)
        except TimeoutError:
            message = "the body did not come in time: send it faster"
            raise TooMuch(408, "too_slow", message) from None
        finally:
            _take_off(self._arriving, block, 1)

    async def _receive_all(
        self, receive: Receive, sender: str, bound: _Bound, too_large: TooMuch
    ) -> bytes:
        async with asyncio.timeout(self._limits.patience.seconds) as deadline:
            arrival = _Arrival(sender, asyncio.get_running_loop().time(), deadline)
            self._arrivals[arrival] = None
            try:
                return await self._gather(receive, arrival, bound, too_large)
            except BaseException:
                self._let_go(sender, arrival.held)
                raise
            finally:
                del self._arrivals[arrival]

    async def _gather(
        self, receive: Receive, arrival: _Arrival, bound: _Bound, too_large: TooMuch
    ) -> bytes:
        patience = self._limits.patience
        body = bytearray()
        received = 0
        while True:
            message = await receive()
            if arrival.was_cut:
                raise TimeoutError
            if message["type"] != "http.request":
                raise ClientDisconnect  # an incomplete request is not processed
            chunk = message.get("body", b"")
            received += len(chunk)
            is_last = not message.get("more_body", False)
            chunk = bound.pass_on(body, chunk, is_last=is_last)
            if (left_out := arrival.held - len(body)) > 0:
                self._let_go(arrival.sender, left_out)
                arrival.held = len(body)
            if len(body) + len(chunk) > bound.most or received > _TIMES_WITHOUT * bound.most:
                raise too_large
            self._hold(arrival.sender, len(chunk), arrival)
            arrival.held += len(chunk)
            body += chunk
            if is_last:
                return bytes(body)
            granted = patience.seconds + received / patience.bytes_a_second
            arrival.deadline.reschedule(arrival.since + granted)

    def _hold(self, sender: str, number: int, by: _Arrival | None = None) -> None:
        """Count bytes of a sender; if there is no room, drop slow bodies to make some."""
        most = self._limits.held_bytes
        while self._held_by_all + number > most:
            if not self._make_room(None, by):
                text = "too many large bodies are being worked on: try again"
                raise TooMuch(503, "busy", text, 5)
        while self._held[sender] + number > most // 2:
            if not self._make_room(sender, by):
                text = "wait until your other bodies are done"
                raise TooMuch(429, "too_many_at_once", text, 5)
        self._held[sender] += number
        self._held_by_all += number

    def _make_room(self, sender: str | None, by: _Arrival | None) -> bool:
        """Drop a body of the largest sender that has been arriving for long, longer than `by`."""
        if not self._arrivals:
            return False
        late = asyncio.get_running_loop().time() - self._limits.patience.undisturbed
        able: list[_Arrival] = []
        for each in self._arrivals:
            if each is by or each.since > late:
                break
            if each.held and sender in (None, each.sender):
                able.append(each)
        if not able:
            return False
        cut = max(able, key=lambda each: self._held[each.sender])
        self._let_go(cut.sender, cut.held)
        cut.held, cut.was_cut = 0, True
        if not cut.deadline.expired():
            cut.deadline.reschedule(0)
        return True

    def _let_go(self, sender: str, number: int) -> None:
        self._held_by_all -= number
        _take_off(self._held, sender, number)


def _take_off(counter: Counter[str], name: str, number: int) -> None:
    counter[name] -= number
    if counter[name] <= 0:
        del counter[name]
