"""A large answer holds its place until it is read: by real sockets, under uvicorn as it comes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.http.cutting import CanCut
from router.http.held_answers import HeldAnswer, Reading
from router.sharing.shares import NOBODY, Shares
from tests.unit.test_following import PlainServer, deaf

CONTENT = bytes(range(256)) * 20_000  # five megabytes


class Files:
    """An application that gives one file, for which there is one place."""

    def __init__(self, reading: Reading) -> None:
        self.places = Shares(1)
        self.reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = await self.places.take(NOBODY, None)
        answer = Response(CONTENT, 201, {"X-Kind": "file"}, "image/png")
        await HeldAnswer(answer, place.give_back, self.reading)(scope, receive, send)


@asynccontextmanager
async def served(app: Files) -> AsyncIterator[socket.socket]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        server = PlainServer(uvicorn.Config(CanCut(app), lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[door]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield door
        server.should_exit = True
        async with asyncio.timeout(10):
            await serving


async def read(door: socket.socket) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection(*door.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_who_reads_nothing_keeps_the_place_until_it_is_cut_off_or_goes(
    caplog: pytest.LogCaptureFixture,
):
    app = Files(Reading(seconds=0.4, bytes_a_second=10**9))
    async with served(app) as door:
        with deaf(door) as caller:
            while app.places.free:
                await asyncio.sleep(0.01)
            app.reading = Reading()
            late = asyncio.create_task(read(door))  # waits for the place
            await asyncio.sleep(0.1)
            assert not late.done()
            head, body = await late
            assert head.startswith(b"HTTP/1.1 201")
            assert b"x-kind: file" in head
            assert f"content-length: {len(CONTENT)}".encode() in head
            assert body == CONTENT
            got = b""
            while piece := await asyncio.to_thread(_all_that_is_there, caller):
                got += piece
            assert len(got) < len(CONTENT)
        with deaf(door):
            while app.places.free:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            assert (await read(door))[1] == CONTENT
    assert app.places.free == 1
    assert caplog.records == []


def _all_that_is_there(caller: socket.socket) -> bytes:
    try:
        return caller.recv(65_536)
    except ConnectionResetError:
        return b""
