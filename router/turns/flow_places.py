"""How many more turns n8n may have, including what only this router knows yet.

The state counts a turn as n8n's from when it was given to n8n until it is closed. This router knows
more about its own turns: a claimed turn is on its way to n8n although it is not counted yet; once
the flow has answered or failed, n8n is done with the turn, however long sending takes; and what the
fallback makes is never n8n's. The state is told so at each claim.
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


class FlowPlaces:
    """The places in n8n; `is_elsewhere` says that another handler makes a turn's reply."""

    def __init__(self, count: int, is_elsewhere: Callable[[int], bool]) -> None:
        self.count = count
        self._is_elsewhere = is_elsewhere

    def has(self, turn_id: int, seat: Seated) -> bool:
        """Whether the reply to a turn of this router is made in n8n, or about to be."""
        return seat.is_taken and not seat.is_made and not self._is_elsewhere(turn_id)

    def free(self, own: Collection[tuple[int, Seated]]) -> int:
        """Return how many places the turns of this router leave free."""
        return self.count - sum(self.has(*each) for each in own)

    def soon(self, own: Collection[tuple[int, Seated]]) -> float:
        """Return in how many seconds to look for the next turns, now that one has ended.

        At once if a quarter of the places is free. While almost all are taken, they are given away
        a few at a time, because a look for one turn costs as much as a look for many.
        """
        return 0.0 if self.free(own) * _A_FEW >= self.count else SOON
