"""The transport's connections: aiohttp's, each within the bounds of its current exchange.

What aiohttp does not do by itself: a connection with unread data is not used for the next request.
Either its server has closed it, or that data would pass for the next response.
"""

import select
from asyncio import AbstractEventLoop, Transport
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler

from router.outbound.bounds import AnswerTooLong, Bounds, current
from router.outbound.unread import Unread


class Line(ResponseHandler):
    """A connection; one exchange after the other."""

    def __init__(self, loop: AbstractEventLoop, unread: Unread) -> None:
        """All connections that share memory have one `unread`."""
        super().__init__(loop)
        self._bounds: Bounds | None = None
        self._of_body = 0
        self._unread = unread

    @property
    def waits(self) -> int:
        """How many bytes of the body have come and wait for their reader."""
        return 0 if self._bounds is None else max(0, self._of_body - self._bounds.of_body)

    def is_connected(self) -> bool:
        """Whether the next request may use it."""
        return (
            super().is_connected() and not self.should_close and not _has_something(self.transport)
        )

    def set_response_params(self, **given: Any) -> None:
        """Begin an exchange: aiohttp calls this when it has a connection, before it sends."""
        if (bounds := current.get()) is not None:
            bounds.has_line = True
        self._bounds = bounds
        self._of_body = 0
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Take what has come, and count it; too much ends the connection."""
        super().data_received(data)
        if (bounds := self._bounds) is None:
            return
        if self._payload is not None:
            self._of_body = self._payload.total_bytes
        allowed = bounds.allows(data, self._of_body)
        if self._of_body > bounds.longest:
            self._end(AnswerTooLong(f"its answer is longer than {bounds.longest} bytes"))
        elif not self._unread.has_room(self):
            self._let_go()
            self._end(httpx.ReadError("more waits to be read, of all answers, than there is room"))
        # What waits for the reader of the body is not parsed yet.
        elif not (allowed or self._reading_paused):
            self._end(httpx.ReadError("its answer has much beside its body"))

    def pause_reading(self) -> None:
        """Let the server wait for the reader of the body, except over TLS.

        Over TLS, the end may come while data before it waits, and asyncio and uvloop lose that
        data.
        """
        if self.transport is None or self.transport.get_extra_info("sslcontext") is None:
            super().pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the exchange; a body without a length is incomplete if the connection broke."""
        body = self._payload
        if body is None or body.is_eof():
            super().connection_lost(exc)
            return
        if exc is not None and body.exception() is None:
            body.set_exception(aiohttp.ClientOSError(str(exc)), exc)
        told = body.exception()
        super().connection_lost(exc)
        if told is not None:  # the first reason given is the cause
            body.set_exception(told)

    def close(self) -> None:
        """Close it at once, even if something is still to be written.

        Otherwise a server that does not read could hold the connection for as long as it likes.
        """
        self.abort()

    def abort(self) -> None:
        """Close it at once, and tell the reader of its response."""
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientConnectionError("the connection was closed"))
        super().abort()

    def _let_go(self) -> None:
        """Drop what has come and waits."""
        if self._payload is not None:
            self._payload.read_nowait()
        if self._bounds is not None:
            self._bounds.end()

    def _end(self, error: httpx.ReadError) -> None:
        self.set_exception(error)
        if self._payload is not None:
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


def _has_something(transport: Transport | None) -> bool:
    """Whether bytes, or the end, can be read; the event loop may not have looked yet."""
    if transport is None or (socket := transport.get_extra_info("socket")) is None:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))
