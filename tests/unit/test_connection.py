"""What one connection may take: heads, requests in advance, silence. Time is told, never waited."""

import asyncio
import logging
import socket
import struct
from contextlib import asynccontextmanager
from functools import partial

import pytest
import uvicorn
from uvicorn.server import ServerState

from router.http.callers import Callers
from router.serving.bounds import Bounds
from router.serving.connection import Connection
from router.serving.door import Door
from router.sharing.connections import connections_for

BOUNDS = Bounds(connections=10, per_address=5, head_bytes=20_000, header_lines=50, pipelined=3)
MOST_READ = BOUNDS.head_bytes + 2 * 262_144  # what the loop may read at once is read
LONG = 3600.0
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Counting(Connection):
    """Notes how much was read of all connections."""

    read = 0

    def data_received(self, data: bytes) -> None:
        Counting.read += len(data)
        super().data_received(data)


class World:
    """A server, and an application that answers when it is told to."""

    def __init__(self) -> None:
        self.door = Door(BOUNDS, Callers(["192.0.2.0/24"]))
        self.state = ServerState()
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[str] = []
        self.answer = b"ok"
        self.reads = True
        self.port = 0

    async def app(self, scope, receive, send):
        self.asked.append(scope["path"])
        if self.reads:
            while (await receive()).get("more_body"):
                pass
        await self.go.wait()
        length = str(len(self.answer)).encode()
        head = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for start in range(0, len(self.answer), 65_536):
            rest = len(self.answer) > start + 65_536
            body = self.answer[start : start + 65_536]
            await send({"type": "http.response.body", "body": body, "more_body": rest})

    async def dial(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def later(self, seconds: float = LONG) -> None:
        self.door.look_around(asyncio.get_running_loop().time() + seconds)


@pytest.fixture
async def world():
    async with serving() as world:
        yield world


@asynccontextmanager
async def serving():
    world = World()
    Counting.read = 0
    config = uvicorn.Config(world.app, interface="asgi3", ws="none", log_config=None)
    config.load()
    make = partial(Counting, config, world.state, {}, door=world.door)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    world.port = server.sockets[0].getsockname()[1]
    yield world
    world.go.set()
    server.close()
    for connection in tuple(world.state.connections):
        connection.transport.abort()
    for task in tuple(world.state.tasks):
        task.cancel()
    if world.state.tasks:
        await asyncio.wait(world.state.tasks)
    await server.wait_closed()


async def pour(world: World, first: bytes, again: bytes, total: int = 40_000_000) -> bytes:
    """Send until it is all sent, or the other end has had enough. What was answered."""
    reader, writer = await world.dial()
    sent = len(first)
    writer.write(first)
    block = again * max(1, 60_000 // len(again))
    try:
        while sent < total and not reader.at_eof():
            writer.write(block)
            await writer.drain()
            sent += len(block)
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()


CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"GET /x HTTP/1.1\r\n", b"X-Many: 1\r\n"),
        (b"GET /x HTTP/1.1\r\n", b"X-Large: " + b"a" * 9000 + b"\r\n"),
        (b"GET /x HTTP/1.1\r\nX-One: ", b"a"),
        (b"GET /x HTTP/1.1\r\nX", b"a"),
        (b"GET /", b"a"),
        (b"GET /x HTTP/1.1\r\nCookie: ", b"a=b; "),
        (b"", b"\r\n"),
        (CHUNKED + b"0\r\n", b"X-Trailer: 1\r\n"),
        (CHUNKED + b"0\r\nX-Trailer: ", b"a"),
        (CHUNKED + b"1;", b"a"),
    ],
    ids=[
        *("lines", "large lines", "a value", "a name", "a path", "cookies", "nothing"),
        *("trailers", "a trailer", "an extension"),
    ],
)
async def test_a_head_without_an_end_is_not_read_to_its_end(world: World, first, again):
    await pour(world, first, again)
    assert Counting.read <= MOST_READ
    while len(world.door):
        world.later()
        await asyncio.sleep(0)


async def test_whoever_sends_too_large_a_head_is_told(world: World):
    reader, writer = await world.dial()
    writer.write(b"GET /x HTTP/1.1\r\nX: " + b"a" * 2 * BOUNDS.head_bytes + b"\r\n" * 2)
    assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_a_body_in_small_chunks_is_no_head(world: World):
    reader, writer = await world.dial()
    writer.write(CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_some_requests_in_advance_are_answered_in_their_order(world: World):
    reader, writer = await world.dial()
    writer.write(b"".join(GET.replace(b"/x", b"/%d" % n) for n in range(3)))
    for _ in range(3):
        await reader.readuntil(b"ok")
    assert world.asked == ["/0", "/1", "/2"]
    writer.close()


@pytest.mark.parametrize("reads", [True, False])
async def test_requests_beyond_the_bound_are_not_read(world: World, reads: bool):
    world.reads = reads
    world.go.clear()
    await pour(world, GET, GET)
    assert Counting.read <= MOST_READ
    assert len(world.asked) <= 1


async def test_an_answer_that_nobody_reads_takes_in_no_further_requests(world: World):
    world.answer = b"a" * 20_000_000
    _, writer = await world.dial()
    writer.write(GET * 3)
    while not world.asked or not any(c.flow.write_paused for c in world.state.connections):
        await asyncio.sleep(0.01)
    assert len(world.asked) == 1
    world.later()
    while len(world.door):
        await asyncio.sleep(0.01)
    writer.close()


async def test_an_answer_that_is_read_slowly_but_steadily_is_not_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.answer = b"a" * 20_000_000
    _, writer = await world.dial()
    writer.write(GET)
    while not any(c.flow.write_paused for c in world.state.connections):
        await asyncio.sleep(0.01)
    (connection,) = world.state.connections
    unread = connection.transport.get_write_buffer_size()
    monkeypatch.setattr(connection.transport, "get_write_buffer_size", lambda: unread)
    seconds = 0.0
    for _ in range(10):
        unread -= 100
        seconds += BOUNDS.write_seconds - 1
        world.later(seconds)
        assert not connection.transport.is_closing()
    world.later(seconds + BOUNDS.write_seconds - 1)
    assert not connection.transport.is_closing()
    world.later(seconds + BOUNDS.write_seconds + 1)  # nothing was read since
    assert connection.transport.is_closing()
    writer.transport.abort()


async def test_the_body_of_a_request_that_waits_is_not_read(world: World):
    world.go.clear()
    _, writer = await world.dial()
    writer.write(GET + POST % 40_000_000)
    while len(world.asked) < 1:
        await asyncio.sleep(0.01)
    writer.write(b"a" * 30_000_000)
    for _ in range(50):
        await asyncio.sleep(0.002)
        for connection in world.state.connections:
            connection.flow.resume_reading()  # as an application that listens for the end does
    assert Counting.read <= MOST_READ
    writer.close()


async def gone(reader) -> bool:
    try:
        return await reader.read() == b""
    except OSError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /x HT", b"GET /x HTTP/1.1\r\nA: b\r\n", b"\r\n"])
async def test_a_connection_without_a_request_is_closed(world: World, said: bytes):
    reader, writer = await world.dial()
    writer.write(said)
    while not len(world.door) or Counting.read < len(said):
        await asyncio.sleep(0.01)
    world.later(BOUNDS.head_seconds - 1)
    assert len(world.door) == 1
    world.later()
    assert await gone(reader)
    writer.close()


async def test_a_head_that_comes_drop_by_drop_wins_no_time(world: World):
    _, writer = await world.dial()
    writer.write(GET[:5])
    while Counting.read < 5:
        await asyncio.sleep(0.01)
    (connection,) = world.state.connections
    until = connection._until
    writer.write(GET[5:10])
    while Counting.read < 10:
        await asyncio.sleep(0.01)
    assert connection._until == until
    writer.close()


async def test_a_connection_that_rests_after_an_answer_is_closed(world: World):
    reader, writer = await world.dial()
    writer.write(GET)
    await reader.readuntil(b"ok")
    world.later(BOUNDS.idle_seconds + 1)
    assert await gone(reader)
    writer.close()


async def test_a_request_that_is_being_answered_has_all_the_time_it_needs(world: World):
    world.go.clear()
    reader, writer = await world.dial()
    writer.write(GET)
    while not world.asked:
        await asyncio.sleep(0.01)
    world.later()
    world.go.set()
    await reader.readuntil(b"ok")
    writer.close()


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(world: World):
    world.reads = False
    reader, writer = await world.dial()
    writer.write(POST % 1000 + b"a")
    await reader.readuntil(b"ok")
    world.later(BOUNDS.linger_seconds + 1)
    assert await gone(reader)
    writer.close()


async def test_after_a_body_that_came_late_the_next_request_is_answered(world: World):
    world.reads = False
    reader, writer = await world.dial()
    writer.write(POST % 1000 + b"a")
    await reader.readuntil(b"ok")
    writer.write(b"a" * 999 + GET)
    await reader.readuntil(b"ok")
    writer.close()


# --- who is let in


class Guest:
    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.is_away = False

    def look(self, now: float) -> None:
        pass

    def turn_away(self) -> None:
        self.is_away = True


def workers(door: Door, address: str, count: int) -> list["Guest"]:
    guests = [Guest(address) for _ in range(count)]
    for guest in guests:
        assert door.enter(guest)
        door.works(guest)
    return guests


async def test_one_address_has_a_part_of_the_places():
    door = Door(BOUNDS, Callers(()))
    guests = workers(door, "198.51.100.1", 5)
    refused = [Guest("198.51.100.1") for _ in range(2)]
    assert [door.enter(guest) for guest in refused] == [False] * 2
    assert [guest.is_away for guest in (*guests, *refused)] == [False] * 5 + [True] * 2
    assert door.enter(Guest("198.51.100.2"))
    door.leave(refused[-1])  # which had no place
    assert not door.enter(Guest("198.51.100.1"))
    door.leave(guests[0])
    assert door.enter(Guest("198.51.100.1"))


async def test_who_says_nothing_keeps_nobody_of_the_same_address_out():
    door = Door(BOUNDS, Callers(()))
    silent = [Guest("198.51.100.1") for _ in range(100)]
    elsewhere = Guest("198.51.100.2")
    door.enter(elsewhere)
    assert all(door.enter(guest) for guest in silent)
    assert [guest.is_away for guest in silent] == [True] * 95 + [False] * 5
    assert not elsewhere.is_away
    assert len(door) == 6
    works = Guest("198.51.100.1")
    assert door.enter(works)
    door.works(works)
    for _ in range(100):
        assert door.enter(Guest("198.51.100.1"))
    assert not works.is_away


async def test_a_64_is_one_address():
    door = Door(BOUNDS, Callers(()))
    guests = [Guest(f"2001:db8:0:1::{number:x}") for number in range(7)]
    assert all(door.enter(guest) for guest in guests)
    assert [guest.is_away for guest in guests] == [True] * 2 + [False] * 5
    assert door.enter(Guest("2001:db8:0:2::1"))
    door = Door(BOUNDS, Callers(()))
    mapped = [Guest(f"{kind}198.51.100.1") for kind in ("", "::ffff:") * 4]
    assert all(door.enter(guest) for guest in mapped)
    assert [guest.is_away for guest in mapped] == [True] * 3 + [False] * 5


async def test_a_trusted_proxy_is_many_callers():
    door = Door(BOUNDS, Callers(["192.0.2.0/24"]))
    assert all(door.enter(Guest("192.0.2.1")) for _ in range(10))


async def test_where_all_places_are_taken_whoever_has_waited_longest_makes_room():
    door = Door(BOUNDS, Callers(()))
    guests = [Guest(f"198.51.100.{number}") for number in range(10)]
    for guest in guests:
        door.enter(guest)
    door.works(guests[0])
    newcomer = Guest("203.0.113.1")
    assert door.enter(newcomer)
    assert [guest.is_away for guest in guests] == [False, True] + [False] * 8
    for guest in (*guests, newcomer):
        door.works(guest)
    assert not door.enter(Guest("203.0.113.2"))  # everybody works
    assert len(door) == 10


@pytest.mark.parametrize("blocks", [2, 10, 1000])
async def test_however_many_say_nothing_who_asks_is_served_and_stays(blocks: int):
    door = Door(BOUNDS, Callers(()))
    rests = Guest("198.51.100.1")
    door.enter(rests)
    door.works(rests)
    door.rests(rests)
    crowd = [Guest(f"2001:db8:0:{number % blocks:x}::1") for number in range(1000)]
    for guest in crowd:
        assert door.enter(guest)
    works = Guest("198.51.100.2")
    assert door.enter(works)
    door.works(works)
    for number in range(1000):
        assert door.enter(Guest(f"2001:db8:1:{number % blocks:x}::1"))
    assert not works.is_away
    assert not rests.is_away  # it has asked, they have not
    assert len(door) == BOUNDS.connections


@pytest.mark.parametrize("kind", ["rests", "stalls"])
async def test_however_many_have_asked_and_keep_their_place_who_comes_has_time_to_ask(kind: str):
    door = Door(BOUNDS, Callers(()))
    crowd = [Guest(f"198.51.100.{number}") for number in range(10)]
    for guest in crowd:
        door.enter(guest)
        door.works(guest)
        getattr(door, kind)(guest)
    newcomers = [Guest(f"203.0.113.{number}") for number in range(3)]
    for guest in newcomers:
        assert door.enter(guest)  # nobody of them has asked yet
    assert not any(guest.is_away for guest in newcomers)
    assert [guest.is_away for guest in crowd] == [True] * 3 + [False] * 7


async def test_who_rests_goes_before_who_reads_slowly():
    door = Door(BOUNDS, Callers(()))
    slow, resting, *others = workers(door, "192.0.2.1", 5) + workers(door, "198.51.100.1", 5)
    door.stalls(slow)
    door.rests(resting)
    for number in range(2):
        guest = Guest(f"203.0.113.{number}")
        assert door.enter(guest)
        door.works(guest)
        assert (resting.is_away, slow.is_away) == (True, number == 1)
    assert not any(guest.is_away for guest in others)


@pytest.mark.parametrize("reads", [False, True])
async def test_an_answer_that_nobody_reads_holds_no_place_that_another_needs(
    world: World, reads: bool
):
    world.answer = b"a" * 20_000_000
    _, writer = await world.dial()
    writer.write(GET)
    while not any(c.flow.write_paused for c in world.state.connections):
        await asyncio.sleep(0.01)
    (connection,) = world.state.connections
    if reads:
        connection.resume_writing()  # as its transport does once something was read
    for number in range(BOUNDS.connections - 1):
        guest = Guest(f"203.0.113.{number}")
        assert world.door.enter(guest)
        world.door.works(guest)
    assert world.door.enter(Guest("203.0.113.99")) is not reads
    assert connection.transport.is_closing() is not reads
    writer.transport.abort()


async def test_among_the_silent_of_its_address_a_request_is_answered(world: World):
    silent = [await world.dial() for _ in range(3 * BOUNDS.per_address)]
    reader, writer = await world.dial()
    writer.write(GET)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    for end in (writer, *(other for _, other in silent)):
        end.close()


def test_there_are_no_more_connections_than_files():
    assert connections_for(2000) == 2000
    assert connections_for(2000, 1024) == 724
    assert connections_for(2000, 256) == 128


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("how", ["cut by the door", "reset", "closed", "half closed"])
def test_a_connection_that_is_gone_is_no_error_of_ours(
    asked: int, how: str, caplog: pytest.LogCaptureFixture
):
    """uvloop, which serves, raises where asyncio's own loop is silent; requests wait behind."""
    uvloop = pytest.importorskip("uvloop")

    async def play() -> None:
        async with serving() as world:
            world.answer = b"a" * 20_000_000
            _, writer = await world.dial()
            writer.write(GET * asked)
            while not world.asked or not any(c.flow.write_paused for c in world.state.connections):
                await asyncio.sleep(0)
            if how == "cut by the door":
                world.later()
            elif how == "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
            elif how == "closed":
                writer.transport.abort()
            else:
                writer.write_eof()
                world.later()
            while world.state.tasks or len(world.door):
                await asyncio.sleep(0)
            writer.transport.abort()

    with caplog.at_level(logging.DEBUG):
        uvloop.run(play())
    assert [line for line in caplog.messages if "Exception" in line or "ASGI" in line] == []


@pytest.mark.parametrize("asked", [1, 2])
def test_an_answer_that_begins_when_nobody_is_there_any_more_is_no_error(
    asked: int, caplog: pytest.LogCaptureFixture
):
    uvloop = pytest.importorskip("uvloop")

    async def play() -> None:
        async with serving() as world:
            world.go.clear()
            _, writer = await world.dial()
            writer.write(GET * asked)
            while not world.asked:
                await asyncio.sleep(0)
            (connection,) = world.state.connections
            connection.turn_away()
            world.go.set()  # it answers before it hears of that, and then after
            while world.state.tasks:
                await asyncio.sleep(0)
            writer.transport.abort()

    with caplog.at_level(logging.DEBUG):
        uvloop.run(play())
    assert [line for line in caplog.messages if "Exception" in line or "ASGI" in line] == []


async def test_who_is_broken_off_by_the_end_of_the_server_leaves_no_traceback(
    world: World, caplog: pytest.LogCaptureFixture
):
    world.go.clear()
    reader, writer = await world.dial()
    writer.write(GET)
    while not world.asked:
        await asyncio.sleep(0.01)
    for task in tuple(world.state.tasks):
        task.cancel()
    assert await gone(reader)
    assert [line for line in caplog.messages if "Exception" in line or "ASGI" in line] == []
    writer.close()


# --- bodies that are not there yet


async def test_however_many_bodies_come_drop_by_drop_who_has_sent_its_request_is_served():
    door = Door(BOUNDS, Callers(()))
    crowd = [Guest(f"198.51.100.{number}") for number in range(10)]
    for guest in crowd:
        door.enter(guest)
        door.arrives(guest)
    newcomers = [Guest(f"203.0.113.{number}") for number in range(4)]
    for guest in newcomers:
        assert door.enter(guest)
        door.works(guest)
    assert [guest.is_away for guest in crowd] == [True] * 4 + [False] * 6
    for number in range(1000):
        late = Guest(f"2001:db8:0:{number:x}::1")
        assert door.enter(late)
        door.arrives(late)
    assert not any(guest.is_away for guest in newcomers)


POSTED = POST % 3 + b"abc"


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (POST % 3, b"abc"),
        (POST % 3 + b"a", b"bc"),
        (CHUNKED + b"2\r\nab\r\n", b"0\r\n\r\n"),
        (GET + POST % 3 + b"a", b"bc"),
        (POSTED + POST % 3 + b"a", b"bc"),
    ],
    ids=["no byte", "a byte", "a chunk", "behind a request", "behind a body"],
)
async def test_a_connection_works_from_when_its_body_is_there(
    world: World, said: bytes, then: bytes
):
    reader, writer = await world.dial()
    writer.write(said)
    whole = said.count(b" /x ") - 1
    for _ in range(whole):
        await reader.readuntil(b"ok")
    while len(world.asked) < whole + 1:
        await asyncio.sleep(0.01)
    (connection,) = world.state.connections
    assert world.door._idle.first_to_go() is connection
    world.go.clear()
    writer.write(then)
    while world.door._idle.first_to_go() is not None:
        await asyncio.sleep(0.01)
    world.go.set()
    await reader.readuntil(b"ok")
    writer.close()


async def test_who_is_answered_stays_whatever_it_sends_in_advance(world: World):
    world.go.clear()
    reader, writer = await world.dial()
    writer.write(GET)
    while not world.asked:
        await asyncio.sleep(0.01)
    writer.write(POST % 3 + b"a")
    (connection,) = world.state.connections
    while not connection.pipeline:
        await asyncio.sleep(0.01)
    assert world.door._idle.first_to_go() is None
    world.go.set()
    await reader.readuntil(b"ok")
    writer.close()
