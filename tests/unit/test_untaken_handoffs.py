"""Handoffs that nobody takes are looked after one by one."""

from datetime import UTC, datetime, timedelta
from typing import Any

from router.errors import Invalid
from router.notices.untaken import UntakenHandoffs

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class State:
    """Has two handoffs that are due, of which it cannot press the first one."""

    def __init__(self) -> None:
        self.pressed: list[int] = []

    async def call(self, function: str, argument: Any) -> Any:
        if function == "look_at_handoffs":
            due = (NOW - timedelta(hours=1)).isoformat()
            of_both = {"step": 0, "step_at": due, "minutes": 15, "timezone": None}
            of_both |= {"opening_hours": None, "jids": [], "wrote": []}
            handoffs = [{"handoff_id": number, **of_both} for number in (1, 2)]
            return {"now": NOW.isoformat(), "handoffs": handoffs}
        if argument["handoff_id"] == 1:
            raise Invalid("it cannot be had")
        self.pressed.append(argument["handoff_id"])
        return {"did": "reminded"}


async def test_one_that_cannot_be_pressed_keeps_no_other_one_waiting():
    state = State()
    woken: list[str] = []
    untaken = UntakenHandoffs(
        state,
        {},
        "UTC",
        wake_notices=lambda: woken.append("notices"),
        wake_turns=lambda: woken.append("turns"),
    )
    await untaken.look()
    assert state.pressed == [2]
    assert woken == ["notices"]
