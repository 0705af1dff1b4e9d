"""How many more turns n8n may have, including what only this router knows yet.

The state counts a turn as n8n's from when it was given to n8n until it is closed. This router knows
more about its own turns: a claimed turn is on its way to n8n although it is not counted yet, and
once the flow has answered, n8n is done with the turn, however long sending takes.
"""

from collections.abc import Callable, Collection
from typing import Protocol

SOON = 0.2  # seconds in which a few places become free: one look for all of them
_A_FEW = 4  # a quarter of all


class Seated(Protocol):
    """How far the reply to a turn is, as its seat knows."""

    @property
    def is_taken(self) -> bool:
        """Whether its reply is about to be made, or being made."""

    @property
    def is_made(self) -> bool:
        """Whether nobody is making its reply any more."""

    @property
    def has_answer(self) -> bool:
        """Whether a flow has made the reply, which is now being sent."""


class FlowPlaces:
    """The places in n8n; `is_elsewhere` says that another handler makes a turn's reply."""

    def __init__(self, count: int, is_elsewhere: Callable[[int], bool]) -> None:
        self._count = count
        self._is_elsewhere = is_elsewhere

    def free(self, own: Collection[tuple[int, Seated]]) -> int:
        """Return how many places the turns of this router leave free."""
        return self._count - sum(
            seat.is_taken and not seat.is_made and not self._is_elsewhere(turn_id)
            for turn_id, seat in own
        )

    def most(self, own: Collection[tuple[int, Seated]]) -> int:
        """Return how many turns the state may count as n8n's."""
        return self._count + sum(seat.has_answer for _, seat in own)

    def soon(self, own: Collection[tuple[int, Seated]]) -> float:
        """Return in how many seconds to look for the next turns, now that one has ended.

        At once if a quarter of the places is free. While almost all are taken, they are given away
        a few at a time, because a look for one turn costs as much as a look for many.
        """
        return 0.0 if self.free(own) * _A_FEW >= self._count else SOON
