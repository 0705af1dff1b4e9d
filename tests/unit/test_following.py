"""Who follows and reads nothing is cut off: by a real socket, under uvicorn as it comes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from router.feed import following
from router.feed.followers import Follower, Look
from router.feed.following import EventStream
from router.http.cutting import CanCut
from router.state.calls.changes import Followed

BEGAN = Followed(position="1/1:1:", lost=False, changes=())
PIECE = b": " + b"x" * 30_000 + b"\n\n"
PATIENCE = 10


class PlainServer(uvicorn.Server):
    @staticmethod
    def capture_signals():
        return nullcontext()


class Following:
    """An application that one follows, and what became of that."""

    def __init__(self) -> None:
        self.follower = Follower(Look(1, {}))
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.begun.set()
            await EventStream(self.follower, BEGAN, self.ended.set)(scope, receive, send)


@asynccontextmanager
async def followed_by_one_who_is_deaf(app: Following) -> AsyncIterator[None]:
    """Serve it by a door through which little goes unread; who leaves has seen the server stop."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        door.bind(("127.0.0.1", 0))
        server = PlainServer(uvicorn.Config(CanCut(app), lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[door]))
        while not server.started:
            await asyncio.sleep(0.01)
        with deaf(door):
            await app.begun.wait()
            yield
            server.should_exit = True
            async with asyncio.timeout(PATIENCE):
                await serving


@contextmanager
def deaf(door: socket.socket) -> Iterator[socket.socket]:
    """One that asks, and reads nothing."""
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        caller.connect(door.getsockname())
        caller.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        yield caller


@pytest.mark.parametrize(
    "pieces", [1, 2, 20], ids=["all is sent", "some is not", "the server takes no more"]
)
async def test_one_that_is_ended_and_reads_nothing_keeps_neither_its_place_nor_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, pieces: int
):
    """`all is sent` lies in the system; of `some`, more would still be taken from us."""
    monkeypatch.setattr(following, "_LAST_WORDS", 0.3)
    app = Following()
    async with followed_by_one_who_is_deaf(app):
        for _ in range(pieces):
            app.follower.tell(PIECE, "1/1:1:")
        await asyncio.sleep(0.1)
        assert not app.ended.is_set()
        app.follower.end("not_allowed")
        async with asyncio.timeout(PATIENCE):
            await app.ended.wait()
    assert caplog.records == []


async def test_a_piece_that_stands_still_ends_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "_STANDS_STILL", 0.2)
    monkeypatch.setattr(following, "_LAST_WORDS", 0.2)
    app = Following()
    async with followed_by_one_who_is_deaf(app):
        for _ in range(20):
            app.follower.tell(PIECE, "1/1:1:")
        async with asyncio.timeout(PATIENCE):
            await app.ended.wait()
    assert app.follower.is_over
