"""A loopback server leaves no connection open."""

import asyncio
from contextlib import suppress

import pytest

from loopback.connections import Connections, serving


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"said")


async def says_nothing_more(reader: asyncio.StreamReader) -> bool:
    """Wait for the connection's end; one that is left open has none."""
    with suppress(ConnectionResetError):
        return not await asyncio.wait_for(reader.read(), 5)
    return True


@pytest.mark.parametrize("steps", range(6))
async def test_a_connection_that_was_just_taken_is_closed_when_its_server_ends(steps: int):
    async with serving(silent) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(steps):
            await asyncio.sleep(0)
    assert await says_nothing_more(reader)
    writer.close()


async def test_a_connection_ends_with_its_talk_and_one_that_comes_late_at_once():
    connections = Connections(at_once)
    server = await asyncio.start_server(connections, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b"said"
    writer.close()
    await connections.end()
    late, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await says_nothing_more(late)
    writer.close()
    server.close()
