"""The one loop that claims: when it looks again, what it keeps, how it stops."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from router.running.claims import ClaimLoop, ClaimTerms, Look, seconds_to_next, seconds_until

TERMS = ClaimTerms(poll=600, pause=0.01, failed="nothing could be claimed")


@pytest.mark.parametrize(
    ("look", "has_room", "seconds"),
    [
        (Look(more=True), True, 0),
        (Look(more=True), False, 5),
        (Look(more=True, due_in=0.0), False, 5),
        (Look(more=True, due_in=-1.0), True, 0),
        (Look(more=False), True, 5),
        (Look(more=False, due_in=3.0), True, 3),
        (Look(more=False, due_in=3.0), False, 3),
        (Look(more=False, due_in=0.0), True, 0.2),
        (Look(more=False, due_in=-9.0), True, 0.2),
        (Look(more=False, due_in=-9.0), False, 5),
        (Look(more=False, due_in=900.0), True, 5),
    ],
)
def test_it_looks_again_when_there_is_something_to_claim_and_not_before(
    look: Look, has_room: bool, seconds: float
):
    assert seconds_to_next(look, has_room=has_room, poll=5) == seconds


def test_what_is_due_is_told_by_the_states_clock():
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert seconds_until(now + timedelta(seconds=3.5), now) == 3.5
    assert seconds_until(now - timedelta(minutes=1), now) == -60
    assert seconds_until(None, now) is None


class Job:
    """One piece of work, which lasts until it is let go."""

    def __init__(self, shop: "Shop", number: int) -> None:
        self.number = number
        self.go_on = asyncio.Event()
        self.may_be_cancelled = True
        self._shop = shop
        self._is_stopped = False

    def stop(self) -> bool:
        self._is_stopped = True
        return self.may_be_cancelled

    async def run(self) -> None:
        if self._is_stopped:
            self._shop.told.append(f"{self.number} given back before it began")
            return
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self._shop.told.append(f"{self.number} given back")
            raise
        self._shop.told.append(f"{self.number} done")


class Shop:
    """Something with so much to do, of which `room` may be under way at once."""

    def __init__(self, jobs: int, room: int = 2) -> None:
        self.left = list(range(jobs))
        self.room = room
        self.asked: list[int] = []
        self.told: list[str] = []
        self.jobs: dict[int, Job] = {}
        self.odd: set[int] = set()
        self.meanwhile: Callable[[], None] = lambda: None
        self.loop = ClaimLoop[Job](self.claim, self.free, TERMS)
        self.loop.ended = lambda job: self.told.append(f"{job.number} ended")

    def free(self) -> int:
        return self.room - len(self.loop.under_way)

    async def claim(self, most: int) -> Look:
        self.asked.append(most)
        await asyncio.sleep(0)
        self.meanwhile()
        taken, self.left = self.left[:most], self.left[most:]
        for number in taken:
            self.loop.begin(f"job {number}", partial(self.begin, number))
        return Look(more=bool(self.left))

    def begin(self, number: int) -> Job:
        if number in self.odd:
            raise ValueError("it cannot be read")
        self.jobs[number] = Job(self, number)
        return self.jobs[number]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_claims_as_much_as_there_is_room_for_and_more_when_some_has_ended():
    shop = Shop(jobs=3)
    running = asyncio.create_task(shop.loop.run())
    await settled()
    assert (shop.asked, list(shop.jobs)) == ([2], [0, 1])
    shop.jobs[0].go_on.set()
    await settled()
    assert (shop.asked, list(shop.jobs)) == ([2, 1], [0, 1, 2])
    assert shop.told == ["0 done", "0 ended"]
    await shop.loop.stop()
    await running


async def test_where_nothing_was_left_due_the_end_of_one_is_no_reason_to_look():
    shop = Shop(jobs=2)

    async def claim(most: int) -> Look:
        await shop.claim(most)
        return Look(more=False, left=False)

    loop = ClaimLoop[Job](claim, shop.free, TERMS)
    loop.leaves_due = lambda job: job.number == 1
    shop.loop = loop
    running = asyncio.create_task(loop.run())
    await settled()
    assert shop.asked == [2]
    shop.jobs[0].go_on.set()
    await settled()
    assert shop.asked == [2], "nothing was due when it ended"
    shop.jobs[1].go_on.set()
    await settled()
    assert shop.asked == [2, 2], "it says that something may be"
    await loop.stop()
    await running


@pytest.mark.parametrize(("left", "asked"), [(True, [1, 1]), (False, [1])])
async def test_what_ends_while_a_look_is_made_has_it_made_again_if_that_left_some(
    left: bool, asked: list[int]
):
    """What was left due may have waited for the one that has ended."""
    shop = Shop(jobs=2, room=1)
    looked = asyncio.Event()

    async def claim(most: int) -> Look:
        await shop.claim(most)
        await looked.wait()
        return Look(more=False, left=left)

    loop = ClaimLoop[Job](claim, shop.free, TERMS)
    loop.leaves_due = lambda _: False
    shop.loop = loop
    running = asyncio.create_task(loop.run())
    await settled()
    shop.jobs[0].go_on.set()
    await settled()
    looked.set()
    await settled()
    assert shop.asked == asked
    await loop.stop()
    await running


async def test_it_claims_until_there_is_nothing_more():
    shop = Shop(jobs=3, room=100)

    async def one(_: int) -> Look:
        return await shop.claim(1)

    loop = ClaimLoop[Job](one, shop.free, TERMS)
    running = asyncio.create_task(loop.run())
    await settled()
    assert shop.left == []
    assert len(shop.asked) == 3
    await loop.stop()
    await running
    await shop.loop.stop()


async def test_while_nothing_is_free_something_else_may_be_done_instead():
    shop = Shop(jobs=9)
    called: list[str] = []

    async def call_others() -> float:
        called.append("others")
        return 600.0

    shop.loop.when_full = call_others
    running = asyncio.create_task(shop.loop.run())
    await settled()
    shop.loop.wake()
    await settled()
    assert shop.asked == [2]
    assert called
    await shop.loop.stop()
    await running


async def test_what_is_odd_of_one_ends_no_other():
    shop = Shop(jobs=3, room=3)
    shop.odd = {1}
    running = asyncio.create_task(shop.loop.run())
    await settled()
    assert list(shop.jobs) == [0, 2]
    await shop.loop.stop()
    await running


async def test_stopping_gives_back_what_may_be_and_waits_for_the_rest():
    shop = Shop(jobs=2)
    running = asyncio.create_task(shop.loop.run())
    await settled()
    shop.jobs[1].may_be_cancelled = False
    stopping = asyncio.create_task(shop.loop.stop())
    await settled()
    assert shop.told == ["0 given back", "0 ended"]
    assert not stopping.done()
    shop.jobs[1].go_on.set()
    await stopping
    await running
    assert shop.told[2:] == ["1 done", "1 ended"]


async def test_what_was_not_begun_yet_when_it_stops_is_given_back_as_well():
    shop = Shop(jobs=1)
    running = asyncio.create_task(shop.loop.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await shop.loop.stop()
    await running
    await settled()
    assert shop.told[0].startswith("0 given back")


async def test_what_a_claim_brings_after_the_stop_is_given_back_before_it_begins():
    shop = Shop(jobs=1)
    shop.meanwhile = shop.loop._loop.stop
    await shop.loop.run()
    await settled()
    assert shop.told == ["0 given back before it began", "0 ended"]


async def test_only_the_chosen_are_stopped():
    shop = Shop(jobs=2)
    running = asyncio.create_task(shop.loop.run())
    await settled()
    shop.loop.stop_those(lambda job: job.number == 1)
    await settled()
    assert shop.told == ["1 given back", "1 ended"]
    await shop.loop.stop()
    await running


async def test_a_look_that_fails_is_made_again():
    shop = Shop(jobs=1)
    fails = [True, True, False]

    async def claim(most: int) -> Look:
        if fails.pop(0):
            raise OSError("no database")
        return await shop.claim(most)

    loop = ClaimLoop[Job](claim, shop.free, TERMS)
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(10):
        while not shop.jobs:
            await asyncio.sleep(0.01)
    assert fails == []
    await loop.stop()
    await running
    await shop.loop.stop()
