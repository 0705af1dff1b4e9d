"""Who has how many of the connections to the database, however slow what others ask is."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.api.bound_database import Brief
from router.errors import DatabaseBusy, TooSlow
from router.state.database import Json
from router.state.entrances import SHARES, Entrance, Entrances, Places, Work, on_behalf_of


class Slow:
    """A database whose calls end when `go` says so."""

    def __init__(self, connections: int = 10) -> None:
        self.connections = connections
        self.go = asyncio.Event()
        self.under_way: Counter[str] = Counter()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.under_way[function] += 1
        try:
            if not argument.get("is_quick"):
                await self.go.wait()
        finally:
            self.under_way[function] -= 1
        return {}


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def ask(entrance: Entrance, count: int, holder: str | None = None, name: str = "slow"):
    with on_behalf_of(holder):
        return [asyncio.create_task(entrance.call(name, {})) for _ in range(count)]


@pytest.mark.parametrize("connections", [10, 20])
async def test_whatever_tenants_ask_the_others_have_connections(connections: int):
    slow = Slow(connections)
    entrances = Entrances(slow)
    tasks = [
        task
        for tenant in range(30)
        for task in ask(entrances.tenants, 5, f"keys of tenant {tenant}")
    ]
    await settled()
    assert slow.under_way["slow"] == 3 * connections // 10
    for entrance in (
        entrances.webhooks,
        entrances.turns,
        entrances.upkeep,
        entrances.look_ups,
        entrances.deployment,
    ):
        assert await entrance.call("quick", {"is_quick": True}) == {}
    slow.go.set()
    await asyncio.gather(*tasks)


async def test_with_all_others_slow_at_once_each_kind_has_what_is_kept_for_it():
    for kind in (work for work in Work if SHARES[work].kept):
        slow = Slow()
        places = Places(slow.connections)
        tasks = []
        for other in (work for work in Work if work is not kind):
            for holder in "abcdef":
                tasks += ask(Entrance(slow, places, other), 3, holder)
        await settled()
        own = ask(Entrance(slow, places, kind), 5, name="own")
        await settled()
        assert slow.under_way["own"] == SHARES[kind].kept, kind
        assert slow.under_way.total() <= slow.connections
        slow.go.set()
        await asyncio.gather(*tasks, *own)


async def test_one_tenant_has_part_of_what_tenants_have_and_the_next_goes_before_its_rest():
    slow = Slow()
    entrances = Entrances(slow)
    tasks = ask(entrances.tenants, 50, "a", "of a") + ask(entrances.tenants, 50, "b", "of b")
    await settled()
    assert slow.under_way == {"of a": 2, "of b": 1}
    (other,) = ask(entrances.tenants, 1, "c", "of c")
    await settled()
    tasks[0].cancel()
    await settled()
    assert slow.under_way["of c"] == 1
    slow.go.set()
    await asyncio.gather(*tasks, other, return_exceptions=True)


async def test_one_tenants_turns_leave_connections_for_the_next_ones():
    slow = Slow()
    entrances = Entrances(slow)
    tasks = ask(entrances.turns, 50, "tenant 1")
    await settled()
    with on_behalf_of("tenant 2"):
        assert await entrances.turns.call("quick", {"is_quick": True}) == {}
    assert await entrances.turns.call("claim", {"is_quick": True}) == {}
    slow.go.set()
    await asyncio.gather(*tasks)


async def test_who_waits_in_vain_is_told_that_it_is_busy_and_holds_nothing(monkeypatch):
    quick = {work: replace(share, patience=0.01) for work, share in SHARES.items()}
    monkeypatch.setattr("router.state.entrances.SHARES", quick)
    slow = Slow()
    entrances = Entrances(slow)
    tasks = ask(entrances.tenants, 3)
    await settled()
    for _ in range(5):
        with pytest.raises(DatabaseBusy, match="calls of tenants: no connection"):
            await entrances.tenants.call("list_sessions", {})
    slow.go.set()
    await asyncio.gather(*tasks)
    slow.go.clear()
    again = ask(entrances.tenants, 3)
    await settled()
    assert slow.under_way["slow"] == 3
    slow.go.set()
    await asyncio.gather(*again)


async def test_who_goes_away_while_it_waits_or_is_given_a_place_leaves_none_taken():
    slow = Slow()
    entrances = Entrances(slow)
    first = ask(entrances.tenants, 3)
    await settled()
    waiting = ask(entrances.tenants, 20)
    await settled()
    for task in first:
        task.cancel()
    await asyncio.sleep(0)  # places are given; whoever has one has not run yet
    for task in waiting:
        task.cancel()
    await asyncio.gather(*first, *waiting, return_exceptions=True)
    last = ask(entrances.tenants, 5)
    await settled()
    assert slow.under_way["slow"] == 3
    slow.go.set()
    await asyncio.gather(*last)


async def test_with_too_few_connections_for_all_kinds_nothing_begins():
    with pytest.raises(ValueError, match="at least 10"):
        Places(9)


async def test_what_a_list_takes_too_long_for_is_broken_off_and_gives_its_place_back():
    slow = Slow()
    entrance = Entrances(slow).tenants
    brief = replace(entrance, database=Brief(slow, seconds=0.01))
    for _ in range(4):
        with pytest.raises(TooSlow, match="narrow the search"):
            await brief.call("list_sessions", {})
    assert not slow.under_way.total()
