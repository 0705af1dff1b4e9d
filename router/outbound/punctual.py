"""aiohttp's requests, except that none is written after the time by which it must begin.

Between the last check of its caller and its first byte, a request waits for a place, a name and a
connection, and the process itself may be stopped for a while (a busy machine, a container that was
frozen). By then the state may have judged that the message was not sent, and sent it again; or
another router may have claimed the work.
"""

from aiohttp import ClientConnectionError, ClientRequest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from router.outbound.bounds import current


class Request(ClientRequest):
    """A request whose first byte is written in time, or none is."""

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        """Write head and body; nothing else runs between the look at the clock and the head."""
        bounds = current.get()
        if bounds is None or bounds.may_begin():
            return await super().write_bytes(writer, conn, content_length)
        # Not closed here: from Python 3.12 on this runs before anybody reads, and who reads from a
        # closed connection gets no such error. With the error it is never used again.
        if conn.protocol is not None:
            conn.protocol.set_exception(ClientConnectionError("too late to begin"))
        return None
