"""A transaction pooler in front of a real PostgreSQL, like Supabase's on port 6543.

Each transaction gets the next server connection in turn, so session state is unreliable. A client
logs in on a new connection, which then joins the pool.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from loopback.connections import Connections

_SSL_REQUEST = 80877103
_READY, _TERMINATE = b"Z", b"X"
_IDLE = b"I"


class _Wire:
    """One end of a connection: messages of PostgreSQL's protocol, each with type and length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def first(self) -> bytes:
        """Return a message without a type, like a client's first message."""
        length = await self._reader.readexactly(4)
        return length + await self._reader.readexactly(int.from_bytes(length) - 4)

    async def next(self) -> tuple[bytes, bytes]:
        """Return a message's type, and the whole message."""
        head = await self._reader.readexactly(5)
        return head[:1], head + await self._reader.readexactly(int.from_bytes(head[1:]) - 4)


class Pooler:
    """Serves on 127.0.0.1 in this event loop. `path` is the socket of the PostgreSQL behind it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: deque[_Wire] = deque()
        self._returned = asyncio.Condition()
        self._servers: list[_Wire] = []
        self._clients = Connections(self._welcome)
        self._server: asyncio.Server
        self.transactions = 0
        """How many times a server connection was given to a transaction."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._clients, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.close()
        await self._clients.end()
        for wire in self._servers:
            wire.writer.close()
            await asyncio.gather(wire.writer.wait_closed(), return_exceptions=True)
        await self._server.wait_closed()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Wire(reader, writer)
        await self._log_in(client)
        while True:
            await self._transaction(client)

    async def _log_in(self, client: _Wire) -> None:
        startup = await client.first()
        if int.from_bytes(startup[4:]) == _SSL_REQUEST:
            client.writer.write(b"N")
            startup = await client.first()
        server = _Wire(*await asyncio.open_unix_connection(self._path))
        self._servers.append(server)
        server.writer.write(startup)
        while True:
            kind, message = await server.next()
            client.writer.write(message)
            if kind == b"R" and int.from_bytes(message[5:9]) not in (0, 12):  # an answer is needed
                server.writer.write((await client.next())[1])
            if kind == _READY:
                return await self._give_back(server)

    async def _transaction(self, client: _Wire) -> None:
        kind, message = await client.next()
        if kind == _TERMINATE:
            raise ConnectionResetError
        async with self._returned:
            await self._returned.wait_for(lambda: self._idle)
            server = self._idle.popleft()
        self.transactions += 1
        server.writer.write(message)
        forward = asyncio.create_task(self._forward(client, server))
        try:
            while True:
                kind, message = await server.next()
                client.writer.write(message)
                if kind == _READY and message[5:] == _IDLE:
                    break
        finally:
            forward.cancel()
        await asyncio.gather(forward, return_exceptions=True)
        await self._give_back(server)

    async def _forward(self, client: _Wire, server: _Wire) -> None:
        while True:
            server.writer.write((await client.next())[1])

    async def _give_back(self, server: _Wire) -> None:
        async with self._returned:
            self._idle.append(server)
            self._returned.notify()
