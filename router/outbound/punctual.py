"""aiohttp's requests, except that none is written too late, or on a connection that is gone.

Between the last check of its caller and its first byte, a request waits for a place, a name and a
connection, and the process itself may be stopped for a while (a busy machine, a container that was
frozen). By then the state may have judged that the message was not sent, and sent it again; or
another router may have claimed the work.

A server closes a connection on which nothing comes for some seconds, and some say first that they
do. What is written to it after that is lost, and nobody could tell it from a request whose answer
is lost.
"""

from aiohttp import ClientRequest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from router.outbound.bounds import current
from router.outbound.line import Line


class Request(ClientRequest):
    """A request whose first byte is written in time and to somebody, or none is."""

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        """Write head and body; nothing else runs between the look at the clock and the head."""
        bounds, line = current.get(), conn.protocol
        if bounds is None:
            return await super().write_bytes(writer, conn, content_length)
        if bounds.may_begin():
            bounds.is_gone = isinstance(line, Line) and line.is_gone
            if not bounds.is_gone:
                return await super().write_bytes(writer, conn, content_length)
        bounds.has_line = False
        # Not closed here: from Python 3.12 on this runs before anybody reads, and who reads from a
        # closed connection gets no such error. With the error it is never used again.
        if isinstance(line, Line):
            line.leave("too late to begin, or nobody is there")
        return None
