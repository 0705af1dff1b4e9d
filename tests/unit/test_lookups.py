"""Credentials that only the database knows: how often they are looked up, and in whose turn."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from router.errors import DatabaseAway
from router.gate.lookups import LookUps, Proven, Refused
from router.http.bodies import TooMuch
from router.sharing.at_once import TooManyAtOnce
from router.sharing.lanes import Lanes


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


# --- lanes


class Visitors:
    """Who waits in lanes, and in which order they got their places."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.came: list[str] = []
        self.most = self._there = 0
        self._doors: dict[str, asyncio.Event] = {}

    def send(self, *names: str, wait: float = 100) -> list["asyncio.Task[None]"]:
        """Send some, each `lane-number`."""
        return [asyncio.create_task(self._visit(name, wait)) for name in names]

    async def _visit(self, name: str, wait: float) -> None:
        async with self.lanes.turn(name.partition("-")[0], wait):
            self.came.append(name)
            self._there += 1
            self.most = max(self.most, self._there)
            door = self._doors[name] = asyncio.Event()
            await door.wait()
            self._there -= 1

    async def let_go(self, *names: str) -> None:
        for name in names:
            self._doors[name].set()
            await settled()


def names(lane: str, count: int) -> list[str]:
    return [f"{lane}-{number}" for number in range(count)]


async def test_few_are_there_at_once_and_fewer_of_one_lane():
    visitors = Visitors(Lanes(3, 2))
    visitors.send(*names("a", 5), *names("b", 2))
    await settled()
    assert visitors.came == ["a-0", "a-1", "b-0"]
    await visitors.let_go("b-0")
    assert visitors.came[3:] == ["b-1"]


async def test_who_comes_by_another_lane_is_next_however_many_wait():
    visitors = Visitors(Lanes(2, 2))
    visitors.send(*names("a", 500))
    await settled()
    visitors.send(*names("b", 300))
    visitors.send("c-0")
    await settled()
    for number in range(4):
        await visitors.let_go(visitors.came[number])
    assert visitors.came[2:6] == ["a-2", "b-0", "c-0", "a-3"]


async def test_all_come_in_the_end_and_nothing_is_left():
    lanes = Lanes(3, 2)
    visitors = Visitors(lanes)
    tasks = visitors.send(*names("a", 20), *names("b", 20), *names("c", 1))
    await settled()
    for number in range(41):
        await visitors.let_go(visitors.came[number])
    await asyncio.gather(*tasks)
    assert visitors.most == 3
    assert (lanes._free, lanes._waiting, lanes._lanes, lanes._at_work) == (3, 0, {}, {})


async def test_a_lane_holds_so_many():
    visitors = Visitors(Lanes(2, 2, waiting_of_one=3))
    tasks = visitors.send(*names("a", 7))
    await settled()
    assert [task.done() for task in tasks] == [False] * 5 + [True] * 2
    assert isinstance(tasks[5].exception(), TooManyAtOnce)


async def test_where_too_many_wait_the_longest_lane_loses_its_last():
    visitors = Visitors(Lanes(1, 1, waiting_of_one=10, waiting=6))
    tasks = visitors.send(*names("a", 5), *names("b", 2))
    await settled()
    (other,) = visitors.send("c-0")
    await settled()
    assert [task.done() for task in tasks] == [False] * 4 + [True] + [False] * 2
    assert isinstance(tasks[4].exception(), TooManyAtOnce)
    (own,) = visitors.send("a-9")
    await settled()
    assert isinstance(own.exception(), TooManyAtOnce)
    assert not other.done()


async def test_who_waits_too_long_or_goes_away_leaves_nothing_behind():
    lanes = Lanes(1, 1)
    visitors = Visitors(lanes)
    visitors.send("a-0")
    await settled()
    (late,) = visitors.send("b-0", wait=0.001)
    with pytest.raises(TooManyAtOnce):
        await late
    gone, given, last = visitors.send("b-1", "b-2", "b-3")
    await settled()
    gone.cancel()
    await settled()
    visitors._doors["a-0"].set()
    for _ in range(20):  # until b-2 is given its place, and is stopped in the same moment
        if lanes._at_work["b"]:
            break
        await asyncio.sleep(0)
    given.cancel()
    await settled()
    assert visitors.came[-1] == "b-3"
    await visitors.let_go("b-3")
    await last
    assert (lanes._free, lanes._waiting, lanes._lanes, lanes._at_work) == (1, 0, {}, {})


# --- look-ups


class Database:
    """What is right, and what was asked for. `go` lets it answer."""

    def __init__(self, *right: str) -> None:
        self.now = 0.0
        self.right = set(right)
        self.asked: list[str] = []
        self.is_away = False
        self.go = asyncio.Event()
        self.go.set()
        self.lookups = LookUps(Lanes(), lambda: self.now)

    def look(self, shown: str) -> Callable[[], Awaitable[Proven]]:
        async def look() -> Proven:
            self.asked.append(shown)
            await self.go.wait()
            if self.is_away:
                raise DatabaseAway("away")
            if shown not in self.right:
                raise Refused("nobody's")
            return Proven(7)

        return look

    async def prove(self, shown: str, block: str = "x") -> Proven:
        return await self.lookups.prove(shown, block, self.look(shown))


async def test_what_is_right_is_asked_for_once_in_a_minute_and_what_is_not_in_five_seconds():
    database = Database("right")
    for _ in range(3):
        assert await database.prove("right") == Proven(7)
        with pytest.raises(Refused, match="nobody's"):
            await database.prove("junk")
    assert database.asked == ["right", "junk"]
    database.now = 6
    await database.prove("right")
    with pytest.raises(Refused):
        await database.prove("junk")
    assert database.asked == ["right", "junk", "junk"]
    database.now = 61
    await database.prove("right")
    assert database.asked[3:] == ["right"]


async def test_the_same_asked_for_by_many_at_once_is_one_question():
    database = Database("right")
    database.go.clear()
    asking = [asyncio.create_task(database.prove(each)) for each in ["right", "junk"] * 50]
    await settled()
    database.go.set()
    await asyncio.gather(*asking, return_exceptions=True)
    assert len(database.asked) <= 4


async def test_what_is_made_after_it_was_refused_works_within_seconds():
    database = Database()
    with pytest.raises(Refused):
        await database.prove("new")
    database.right.add("new")
    database.now = 5.1
    assert await database.prove("new") == Proven(7)
    assert await database.prove("new") == Proven(7)


async def test_what_is_revoked_is_refused_once_it_is_forgotten():
    database = Database("right")
    await database.prove("right")
    database.right.clear()
    database.lookups.forget("right")
    with pytest.raises(Refused):
        await database.prove("right")


async def test_a_database_that_is_away_refuses_nobody_for_longer():
    database = Database("right")
    database.is_away = True
    with pytest.raises(DatabaseAway):
        await database.prove("right")
    database.is_away = False
    assert await database.prove("right") == Proven(7)


async def test_a_right_key_is_looked_up_before_the_junk_of_others():
    database = Database("right")
    database.go.clear()
    junk = [
        asyncio.create_task(database.prove(f"{block}-{number}", block))
        for block in "abc"
        for number in range(300)
    ]
    await settled()
    right = asyncio.create_task(database.prove("right", "another"))
    await settled()
    database.go.set()
    assert await right == Proven(7)
    assert database.asked.index("right") < 12
    await asyncio.gather(*junk, return_exceptions=True)


async def test_a_right_key_waits_for_the_junk_of_its_own_address_and_is_not_shut_out():
    database = Database("right")
    database.go.clear()
    junk = [asyncio.create_task(database.prove(str(number))) for number in range(300)]
    await settled()
    right = asyncio.create_task(database.prove("right"))
    await settled()
    database.go.set()
    assert await right == Proven(7)
    await asyncio.gather(*junk, return_exceptions=True)


async def test_what_was_right_before_has_a_turn_of_its_own():
    database = Database("right")
    await database.prove("right")
    database.now = 61
    database.go.clear()
    junk = [asyncio.create_task(database.prove(str(number))) for number in range(300)]
    await settled()
    right = asyncio.create_task(database.prove("right"))
    await settled()
    assert database.asked[-1] == "right"
    database.go.set()
    assert await right == Proven(7)
    await asyncio.gather(*junk, return_exceptions=True)


async def test_what_waits_is_bounded_and_the_rest_is_told_when_to_come_again():
    database = Database()
    database.go.clear()
    junk = [asyncio.create_task(database.prove(str(number))) for number in range(600)]
    await settled()
    refused = [task.exception() for task in junk if task.done()]
    assert len(refused) == 600 - 500 - 2
    assert {(e.status, e.retry_after) for e in refused if isinstance(e, TooMuch)} == {(503, 1)}
    database.go.set()
    await asyncio.gather(*junk, return_exceptions=True)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("router.gate.lookups._MOST", 3)
    database = Database(*"abcdef")
    for shown in ("a", "b", "c", "d", "u", "v", "w", "x"):
        await asyncio.gather(database.prove(shown), return_exceptions=True)
    assert list(database.lookups._known) == ["b", "c", "d"]
    assert list(database.lookups._refused) == ["v", "w", "x"]
