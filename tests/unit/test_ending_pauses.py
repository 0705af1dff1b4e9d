"""Pauses that have run out end in small calls; one that cannot end keeps no other on."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from router.configuration.settings import Settings, load_settings
from router.errors import DatabaseAway
from router.upkeep.ending_pauses import run_auto_resume


class Pauses:
    """A state in which these pauses are over; a call that has one of `slow` gets no answer."""

    def __init__(self, due: list[int], slow: frozenset[int] = frozenset()) -> None:
        self._due = due
        self._slow = slow
        self.calls: list[list[int]] = []
        self.ended: list[int] = []

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        if function == "pauses_over":
            return {"session_ids": self._due, "more": False}
        if function == "look_at_handoffs":
            return {"handoffs": [], "now": "2026-11-26T12:00:00Z"}
        ids = argument["session_ids"]
        self.calls.append(ids)
        if self._slow.intersection(ids):
            raise DatabaseAway("the database did not answer in time")
        self.ended += ids
        return {"resumed": len(ids), "turns": 1, "failed": [], "sessions": [], "more": False}


def settings() -> Settings:
    return load_settings({}, env_file=None)


async def test_no_call_ends_more_than_fifty():
    state = Pauses(list(range(120)))
    done = await run_auto_resume(state, settings(), seconds=math.inf)
    assert [len(ids) for ids in state.calls] == [50, 50, 20]
    assert (done.resumed, done.turns, done.more) == (120, 3, False)


@pytest.mark.parametrize("bad", [0, 49, 60, 119])
async def test_one_that_gets_no_answer_keeps_no_other_on(bad: int):
    state = Pauses(list(range(120)), frozenset({bad}))
    done = await run_auto_resume(state, settings(), seconds=math.inf)
    assert sorted(state.ended) == [number for number in range(120) if number != bad]
    assert done.resumed == 119


async def test_a_database_that_is_away_is_not_asked_about_each():
    state = Pauses(list(range(120)), frozenset(range(120)))
    with pytest.raises(DatabaseAway):
        await run_auto_resume(state, settings(), seconds=math.inf)
    assert len(state.calls) == 4


async def test_when_its_time_is_over_it_says_that_there_is_more():
    state = Pauses(list(range(120)))
    done = await run_auto_resume(state, settings(), seconds=0)
    assert (state.calls, done.more) == ([], True)
