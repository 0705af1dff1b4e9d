"""The loop of claims never asks the same question twice without a pause."""

from collections.abc import Mapping
from typing import Any

import pytest

from router.turns.dispatcher import ClaimLimits, Dispatcher, comes_round

LIMITS = ClaimLimits(parallel=5, lease=60, max_attempts=5, history=10, poll=5, worker="test")
NOW = "2026-11-20T12:00:00+00:00"
LATER = "2026-11-20T12:00:03+00:00"


class Round:
    """Tenants 1 to 100 have due turns, and none can be taken; each claim looks at 40 of them."""

    def __init__(self, *, taken: int = 0, moves: bool = True) -> None:
        self.after: list[int] = []
        self._taken = taken
        self._moves = moves

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        assert function == "claim_turns"
        after = int(argument["after_tenant"])
        self.after.append(after)
        return {
            "turns": [], "too_old": [], "now": NOW, "next_due_at": LATER, "more": True,
            "taken": self._taken, "after_tenant": (after + 40) % 100 if self._moves else after,
        }  # fmt: skip


def begin_attempt(*_: object) -> Any:
    raise AssertionError("there is nothing to begin")


async def pauses(state: Round, claims: int) -> list[float]:
    dispatcher = Dispatcher(state, LIMITS, begin_attempt)
    return [await dispatcher._claims.step() for _ in range(claims)]


async def test_it_goes_round_all_tenants_once_and_then_waits():
    state = Round()
    assert await pauses(state, 6) == [0, 0, 3, 0, 0, 3]
    assert state.after == [0, 40, 80, 20, 60, 0]


async def test_a_look_that_does_not_move_on_is_not_repeated_at_once():
    assert await pauses(Round(moves=False), 3) == [3, 3, 3]


async def test_while_turns_can_be_taken_it_goes_on():
    assert await pauses(Round(taken=1, moves=False), 9) == [0] * 9


@pytest.mark.parametrize(
    ("began", "before", "after", "is_round"),
    [
        (0, 0, 0, True),
        (0, 0, 7, False),
        (5, 5, 3, False),
        (5, 3, 5, True),
        (5, 3, 4, False),
        (5, 7, 2, False),
        (5, 7, 6, True),
        (9, 7, 2, True),
        (5, 7, 7, True),
    ],
)
def test_a_round_is_over_when_it_comes_past_where_it_began(
    began: int, before: int, after: int, is_round: bool
):
    assert comes_round(began, before, after) is is_round
