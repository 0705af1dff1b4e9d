"""A flow that fails is told of once, and a database that cannot take that stops no turn."""

from collections.abc import Mapping
from typing import Any

import pytest

from router.errors import DatabaseAway, DatabaseFault
from router.n8n.breakers import Breaker, FlowBreakers
from router.n8n.failing_flows import FailingFlows, GoesOn
from tests.unit.test_breakers import OURS


class Database:
    def __init__(self, *errors: Exception) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._errors = list(errors)

    async def call(self, function: str, argument: Mapping[str, object]) -> dict[str, Any]:
        self.asked.append((function, dict(argument)))
        if self._errors:
            raise self._errors.pop(0)
        return {"ok": True}


def watching(database: Database, goes_on: GoesOn = "fallback") -> FailingFlows:
    return FailingFlows(database, FlowBreakers(Breaker(pause=15), limit=3), goes_on)


async def fails(flows: FailingFlows, times: int = 3, tenant_id: int = 1) -> list[bool]:
    return [await flows.failed(tenant_id, OURS, "no such node") for _ in range(times)]


async def test_it_is_told_at_the_limit_and_not_again() -> None:
    database = Database()
    flows = watching(database)
    assert await fails(flows, 6) == [False, False, True, True, True, True]
    told = {"tenant_id": 1, "flow": OURS, "failures": 3, "goes_on": "fallback"}
    assert database.asked == [("tell_flow_failing", told)]


async def test_what_works_in_between_begins_anew_and_is_told_only_after_a_failing_one() -> None:
    database = Database()
    flows = watching(database)
    for _ in range(5):
        await fails(flows, 2)
        await flows.worked(1, OURS)
    assert not database.asked
    await fails(flows)
    await flows.worked(1, OURS)
    assert [name for name, _ in database.asked] == ["tell_flow_failing", "tell_flow_works"]
    assert flows.told_to_anybody() is None


@pytest.mark.parametrize(
    "error", [DatabaseAway("away"), DatabaseFault("an older schema has no such function")]
)
async def test_a_database_that_cannot_take_it_stops_no_turn_and_is_asked_again(
    error: Exception,
) -> None:
    database = Database(error)
    flows = watching(database)
    assert (await fails(flows, 4))[-1]
    await flows.worked(1, OURS)
    names = [name for name, _ in database.asked]
    assert names == ["tell_flow_failing", "tell_flow_failing", "tell_flow_works"]


async def test_the_health_names_the_flows_and_of_many_only_some() -> None:
    flows = watching(Database(), "queue")
    for tenant in (1, 2):
        await fails(flows, tenant_id=tenant)
    said = f"flows that fail again and again: {OURS} (of 2 tenants)"
    assert flows.told_to_anybody() == f"{said}; its turns wait (N8N_FALLBACK=queue)"
    for tenant in range(100, 200):
        for _ in range(3):
            await flows.failed(tenant, f"own-{tenant}", "x")
    told = flows.told_to_anybody()
    assert told is not None
    assert len(told) < 1000
    assert "and 81 more" in told


async def test_of_a_turn_that_another_router_gave_nothing_is_counted() -> None:
    flows = watching(Database())
    for _ in range(9):
        assert not await flows.turn_failed(7, "x")
    assert not flows.gives_up(7)
    await flows.turn_worked(7)
    flows.breakers.gave(7, 1, OURS)
    assert [await flows.turn_failed(7, "x") for _ in range(2)] == [False, False]
    assert flows.gives_up(7)
    assert await flows.turn_failed(7, "x")
