"""What one instance's repair meets keeps no other instance waiting, unless the database is away."""

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from router.configuration.settings import load_settings
from router.errors import Conflict, DatabaseAway, Invalid, NotFound, StateError
from router.evolution.client import EvolutionClient
from router.intake.gap_repairs import GapRepairs
from router.state.database import Json
from tests.fixtures.marks import plain_marks
from tests.gap_repairs import all_repaired


class _State:
    """Refuses what is asked of `odd`, and knows no other instance."""

    def __init__(self, refusal: StateError, *, times: int) -> None:
        self.refusal = refusal
        self.times = times
        self.asked: list[str] = []

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        if function == "gaps_by_activity":
            return {"instances": [["odd", ""], ["a", ""], ["b", ""]]}
        name = str(argument["instance_name"])
        self.asked.append(name)
        if name == "odd" and self.asked.count("odd") <= self.times:
            raise self.refusal
        raise NotFound("it is gone")


async def asked_by(state: _State) -> list[str]:
    evolution = cast("EvolutionClient", None)
    settings = load_settings({}, env_file=None)
    repairs = GapRepairs(
        state, evolution, settings, plain_marks(), lambda *_: None, retry_delays=(0.01, 0.01)
    )
    repairs.begin_all()
    async with asyncio.timeout(10):
        await all_repaired(repairs)
    return state.asked


@pytest.mark.parametrize("refusal", [Conflict("busy"), Invalid("odd")])
async def test_what_the_state_refuses_of_one_comes_after_the_others_and_is_given_up(
    refusal: StateError,
) -> None:
    assert await asked_by(_State(refusal, times=99)) == ["odd", "a", "b", "odd", "odd"]


async def test_a_database_that_is_away_leaves_the_order_as_it_was() -> None:
    state = _State(DatabaseAway("it is away"), times=1)
    assert await asked_by(state) == ["odd", "odd", "a", "b"]
