"""One connection: uvicorn's HTTP (httptools), with limits.

uvicorn reads a head of any length, accepts any number of requests before the first is answered, and
waits for ever for a head, a body or a reader. Here each of these has a limit (`Bounds`). A caller
that exceeds it gets one response (431, 400) or is cut off. Bodies that an application reads have
their own limits: `router.http.bodies`.
"""

import asyncio
from typing import Any

import httptools
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from router.serving.door import Door

_PIECE = 16_384  # bytes given to the parser at once: the head is measured in such steps
_PHRASES = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class _TooMuch(Exception):
    """Raised inside the parser to stop it."""


def _tell_gone(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


class _Flow(FlowControl):
    """Pauses reading while requests wait behind the one that is being answered."""

    held = False

    def resume_reading(self) -> None:
        if not self.held and not self._transport.is_closing():
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """A connection, with the limits of its door."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._bounds = door.bounds
        self._until: float | None = None  # after this time it is late; None: it has no time limit
        self._write_until: float | None = None
        self._unread = 0  # bytes of the answer that the client had not read at the last look
        self._quiet = 0  # bytes since the parser last called back
        self._has_told = False
        self._lines = 0
        self._in_head = True
        self._is_whole = True  # whether the last request that began has arrived with its body
        self._is_answering = False
        self._is_over = False
        self._too_much = 400
        self._answered: RequestResponseCycle | None = None

    # --- called by the door

    @property
    def peer(self) -> str | None:
        """The address at the other end."""
        return self.client[0] if self.client else None

    def look(self, now: float) -> None:
        """Close the connection if it is late; cut it if that did not work, or if it is stuck."""
        self._note_reading(now)
        is_stuck = self._write_until is not None and now > self._write_until
        is_late = self._until is not None and now > self._until
        if is_stuck or (is_late and self.transport.is_closing()):
            self.turn_away()
        elif is_late:
            self._close()

    def _note_reading(self, now: float) -> None:
        """Restart the clock if the client reads, however slowly: only one that stalls is late."""
        if self._write_until is None:
            return
        unread = self.transport.get_write_buffer_size()
        if unread < self._unread:
            self._write_until = now + self._bounds.write_seconds
        self._unread = unread

    def turn_away(self) -> None:
        """Cut the connection: nothing more is read or written."""
        self._is_over = True
        self.transport.abort()

    # --- called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, unless the door refuses."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._is_over = not self._door.enter(self)
        self._until = self.loop.time() + self._bounds.head_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and tell the code that is answering.

        uvicorn tells only the last request, which may still be waiting behind the one being
        answered.
        """
        self._door.leave(self)
        if self._answered is not None:
            _tell_gone(self._answered)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and stop if it exceeds a limit."""
        if self._is_over:
            return
        if self._is_whole and not self._is_answering:
            self._until = self.loop.time() + self._bounds.head_seconds
            self._is_whole = False
        try:
            for start in range(0, len(data), _PIECE):
                self._parse(data[start : start + _PIECE] if len(data) > _PIECE else data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if this had been the only request
        except (httptools.HttpParserError, _TooMuch):
            self._refuse()

    def _parse(self, piece: bytes) -> None:
        self._has_told = False
        self.parser.feed_data(piece)
        self._quiet = 0 if self._has_told else self._quiet + len(piece)
        if self._quiet > self._bounds.head_bytes:
            self._too_much = 431
            raise _TooMuch

    def pause_writing(self) -> None:
        """Note since when the client reads nothing."""
        self._write_until = self.loop.time() + self._bounds.write_seconds
        self._unread = self.transport.get_write_buffer_size()
        self._door.stalls(self)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_until = None
        if self._is_answering:
            self._note_work()
        else:
            self._door.rests(self)
        super().resume_writing()

    # --- called by the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        self._lines, self._in_head, self._is_whole = 0, True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; ignore one after the body (a trailer): nothing uses it."""
        self._lines += 1
        if self._lines > self._bounds.header_lines:
            self._too_much = 431
            raise _TooMuch
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, or wait behind the request that is being answered."""
        self._has_told, self._in_head = True, False
        if len(self.pipeline) >= self._bounds.pipelined:
            raise _TooMuch
        super().on_headers_complete()
        self._is_answering = True
        self._flow.held = bool(self.pipeline)
        self._until = None
        self._note_work()

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on to the application."""
        self._has_told = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived whole."""
        self._has_told = self._is_whole = True
        super().on_message_complete()
        if self._is_answering:
            self._note_work()
        else:  # it was answered before its body had arrived
            self._rest()

    # --- called by the answer

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin to answer. What the application sends after the client has gone is dropped.

        A closed transport refuses to write some moments before the connection is known to be lost.
        That is not an error of the application. Nor is it an error that the server stops: the
        server itself logs that, once for all the answers that it interrupts.
        """

        async def answer(
            scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
        ) -> None:
            async def send_if_heard(message: ASGISendEvent) -> None:
                if self.flow.write_paused and not cycle.disconnected:
                    await self.flow.drain()
                if self.transport.is_closing():
                    _tell_gone(cycle)
                await send(message)

            try:
                await app(scope, receive, send_if_heard)
            except asyncio.CancelledError:
                _tell_gone(cycle)
                self.transport.close()

        self._answered = cycle
        super()._start_asgi_task(cycle, answer)

    def on_response_complete(self) -> None:
        """Answer the next waiting request, or rest."""
        self.server_state.total_requests += 1
        self._is_answering = bool(self.pipeline)
        if self.transport.is_closing():
            self._until = self.loop.time() + self._bounds.linger_seconds
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._flow.held = bool(self.pipeline)
            self._start_asgi_task(cycle, app)
            self._note_work()
        else:
            self._flow.held = False
            self._rest()
        self.flow.resume_reading()

    def _note_work(self) -> None:
        """Tell the door whether this connection is at work. One that waits for a body is not."""
        if self._answered is not None and self._answered.more_body:
            self._door.arrives(self)
        else:
            self._door.works(self)

    def _rest(self) -> None:
        seconds = self._bounds.idle_seconds if self._is_whole else self._bounds.linger_seconds
        self._until = self.loop.time() + seconds
        self._door.rests(self)

    def _refuse(self) -> None:
        """Send the refusal, unless an answer is being written, and read nothing more."""
        self._is_over = True
        self._door.turned_away += 1
        if self._is_answering:
            self.transport.abort()
            return
        status = self._too_much
        self.transport.write(
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nconnection: close\r\n"
            "content-length: 0\r\n\r\n".encode()
        )
        self._close()

    def _close(self) -> None:
        self._is_over = True
        self._until = self.loop.time() + self._bounds.linger_seconds
        self.transport.close()
