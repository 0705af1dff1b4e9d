"""The transport's connections: aiohttp's, each within the bounds of its current exchange.

In addition to aiohttp's own checks, a connection with unread data is not used for the next request:
the server may have closed it, or that data would be taken for the next response.
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
    """A connection, for one exchange after the other."""

    def __init__(self, loop: AbstractEventLoop, unread: Unread) -> None:
        """All connections share one `unread`, which limits their memory."""
        super().__init__(loop)
        self._bounds: Bounds | None = None
        self._is_kept = False
        self._of_body = 0
        self._unread = unread

    @property
    def waits(self) -> int:
        """How many received bytes of the body wait for their reader."""
        return 0 if self._bounds is None else max(0, self._of_body - self._bounds.of_body)

    def is_connected(self) -> bool:
        """Whether the next request may use this connection."""
        return (
            super().is_connected() and not self.should_close and not _has_something(self.transport)
        )

    @property
    def is_gone(self) -> bool:
        """Whether the server has closed it, or said anything, since its last exchange."""
        return self._is_kept and not self.is_connected()

    def leave(self, why: str) -> None:
        """End the exchange before its first byte; whatever has come is no answer to it."""
        self._buffer.clear()
        self.set_exception(aiohttp.ClientConnectionError(why))

    def set_response_params(self, **given: Any) -> None:
        """Begin an exchange; aiohttp calls this when it has a connection, before it sends."""
        if (bounds := current.get()) is not None:
            bounds.has_line = True
        self._is_kept, self._bounds = self._bounds is not None, bounds
        self._of_body = 0
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Accept and count received data; too much of it ends the connection."""
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
        # Data that waits for the body's reader is not parsed yet, so it cannot be judged.
        elif not (allowed or self._reading_paused):
            self._end(httpx.ReadError("its answer has much beside its body"))

    def pause_reading(self) -> None:
        """Make the server wait for the body's reader, except over TLS.

        Over TLS, asyncio and uvloop lose the data that waits if the connection ends meanwhile.
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
        if told is not None:  # the first reason is the cause
            body.set_exception(told)

    def close(self) -> None:
        """Close the connection at once, even if data is still to be written.

        Otherwise a server that does not read could hold the connection for any time.
        """
        self.abort()

    def abort(self) -> None:
        """Close the connection at once, and give its response's reader an error."""
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientConnectionError("the connection was closed"))
        super().abort()

    def _let_go(self) -> None:
        """Drop the received data that waits."""
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
    """Whether data or the end can be read now, even if the event loop has not noticed it yet."""
    if transport is None or (socket := transport.get_extra_info("socket")) is None:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))
