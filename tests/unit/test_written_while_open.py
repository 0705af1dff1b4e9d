"""What is written before a business closes is answered after it, and nobody is told of it then."""

from typing import Any

import pytest

from router.replies.closed import closed_stretch
from router.state.calls.claimed_turn import ClaimedTurn
from tests.unit.test_context import HOURS, NIGHT, now, said

OPEN_AT = "2026-11-26T20:59:55Z"  # five seconds before 18:00 in São Paulo
CLOSED_AT = "2026-11-26T21:00:00Z"
AWAY: dict[str, Any] = {"opening_hours": HOURS, "away_message": "Abrimos às {time}."}


def asked(at: str, *written: str, **tenant: Any) -> ClaimedTurn:
    return now(at, *(said("oi", each) for each in written), **{**AWAY, **tenant})


@pytest.mark.parametrize("at", ["2026-11-26T21:00:06Z", NIGHT])
def test_what_was_written_while_it_was_open_is_answered_and_told_nothing(at: str) -> None:
    assert closed_stretch(asked(at, OPEN_AT), "UTC") is None
    assert closed_stretch(asked(at, "2026-11-26T18:00:00Z", OPEN_AT), "UTC") is None


def test_what_was_written_before_and_after_it_closed_is_told_and_answered() -> None:
    stretch = closed_stretch(asked(NIGHT, OPEN_AT, CLOSED_AT), "UTC")
    assert stretch is not None
    assert (stretch.message, stretch.was_written_open) == ("Abrimos às 09:00.", True)


def test_what_was_written_to_the_second_at_which_it_closed_is_not() -> None:
    stretch = closed_stretch(asked(NIGHT, CLOSED_AT), "UTC")
    assert stretch is not None
    assert (stretch.message, stretch.was_written_open) == ("Abrimos às 09:00.", False)


def test_what_stands_in_the_history_makes_no_difference() -> None:
    before = said("obrigada", OPEN_AT, in_turn=False)
    stretch = closed_stretch(now(NIGHT, before, said("oi", CLOSED_AT), **AWAY), "UTC")
    assert stretch is not None
    assert not stretch.was_written_open


def test_a_turn_of_which_no_message_is_known_is_judged_by_now() -> None:
    unknown = asked(NIGHT).model_copy(update={"history": ()})
    stretch = closed_stretch(unknown, "UTC")
    assert stretch is not None
    assert not stretch.was_written_open


def test_a_group_is_told_nothing_of_being_closed() -> None:
    turn = asked(NIGHT, NIGHT)
    group = turn.model_copy(update={"session": turn.session.model_copy(update={"chat": "group"})})
    stretch = closed_stretch(group, "UTC")
    assert stretch is not None
    assert stretch.message is None
    assert not stretch.was_written_open
