"""Long requests of flows: a tenant's one by one, another tenant's beside them."""

import asyncio
import threading

import pytest

from router.sharing.bench import Bench


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.thread: str | None = None
        self._begun = threading.Event()
        self._end = threading.Event()

    def __call__(self) -> str:
        self.thread = threading.current_thread().name
        self._begun.set()
        assert self._end.wait(30)
        return "done"

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    async def begins(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 30)

    def ends(self) -> None:
        self._end.set()


async def still() -> None:
    """Whoever waits is still wanted."""


async def test_a_tenants_work_is_done_one_by_one_and_anothers_beside_it() -> None:
    bench = Bench()
    works = [Work() for _ in range(8)]
    theirs, mine = works, Work()
    asked = [asyncio.create_task(bench.do(1, each, after_waiting=still)) for each in theirs]
    await theirs[0].begins()
    other = asyncio.create_task(bench.do(2, mine, after_waiting=still))
    await mine.begins()
    assert [each.has_begun for each in theirs] == [True] + [False] * 7
    mine.ends()
    assert await other == "done"
    assert [each.has_begun for each in theirs] == [True] + [False] * 7
    for each in theirs:
        each.ends()
    assert await asyncio.gather(*asked) == ["done"] * 8
    assert {each.thread and each.thread[:16] for each in theirs} == {"a flow's request"}


async def test_what_waited_is_not_done_where_nobody_wants_it_any_more() -> None:
    bench = Bench()
    first, second, third = Work(), Work(), Work()
    asked = asyncio.create_task(bench.do(1, first, after_waiting=still))
    await first.begins()

    async def closed() -> None:
        raise LookupError("the turn is closed")

    waiting = asyncio.create_task(bench.do(1, second, after_waiting=closed))
    first.ends()
    assert await asked == "done"
    with pytest.raises(LookupError):
        await waiting
    assert not second.has_begun
    third.ends()
    assert await bench.do(1, third, after_waiting=still) == "done"


async def test_who_waits_too_long_is_told_and_a_work_that_is_left_keeps_its_place() -> None:
    bench = Bench(patience=0.01)
    left, late = Work(), Work()
    asked = asyncio.create_task(bench.do(1, left, after_waiting=still))
    await left.begins()
    asked.cancel()
    with pytest.raises(TimeoutError):
        await bench.do(1, late, after_waiting=still)
    left.ends()
    late.ends()
    patient = Bench()
    assert await patient.do(1, late, after_waiting=still) == "done"


async def test_what_fails_gives_its_place_back() -> None:
    bench = Bench()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await bench.do(1, lambda: 1 // 0, after_waiting=still)
