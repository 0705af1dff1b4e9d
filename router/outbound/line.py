"""The connections of the transport: aiohttp's, each within the bounds of the exchange it is for.

What aiohttp does not do by itself: a connection that has something to be read while nobody asks
is not used again. It is closed by its server, or holds what would pass for the next answer.
"""

import select
from asyncio import AbstractEventLoop, Transport
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from router.outbound.bounds import Bounds, current


class TooMuchBeside(aiohttp.ClientError):
    """What comes is much beside the body of an answer."""


class Line(ResponseHandler):
    """A connection; one exchange after the other."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._bounds: Bounds | None = None

    def is_connected(self) -> bool:
        """Whether the next request may go over it."""
        return (
            super().is_connected() and not self.should_close and not _has_something(self.transport)
        )

    def set_response_params(self, **given: Any) -> None:
        """Begin an exchange: aiohttp calls this when it has a connection, before it sends."""
        if (bounds := current.get()) is not None:
            bounds.has_line = True
        self._bounds = bounds
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        """Take what has come, and count it; what is too much ends the connection."""
        super().data_received(data)
        if (bounds := self._bounds) is None:
            return
        body = self._payload.total_bytes if self._payload is not None else 0
        # What waits for the reader of the body is not taken apart yet.
        if bounds.bears(data, body) or self._reading_paused:
            return
        self.set_exception(error := TooMuchBeside("its answer has much beside its body"))
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
