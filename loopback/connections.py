"""Serves raw connections on loopback, and leaves none open at the end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Connections:
    """The callback for `asyncio.start_server`: each connection gets a task, its talk.

    A connection is closed when its talk ends, in any way. Asyncio alone does not ensure that: a
    talk that is cancelled before its first step never sees the connection, and cannot close it.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._ended = False

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin the talk with a connection."""
        if self._ended:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._talked(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._close)

    async def cut(self) -> None:
        """Cancel the talks under way, and abort their connections."""
        talks = dict(self._open)
        for task, writer in talks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*talks, return_exceptions=True)

    async def end(self) -> None:
        """Cut all connections; a later one is cut at once."""
        self._ended = True
        await self.cut()

    async def _talked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return

    def _close(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()


@asynccontextmanager
async def serving(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on a free port of the host, and yield the port. At the end no connection is open."""
    connections = Connections(talk)
    server = await asyncio.start_server(connections, host, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await connections.end()
        await server.wait_closed()
