"""How many turns more n8n may have: what this router knows of its own before the state does.

The state counts a turn as n8n's from when it was given to it until it is closed. This router knows
better of its own turns: one that is claimed is on its way there, though it is not counted yet; one
whose flow has answered or failed is n8n's no more, however long it is sent, and one that the
fallback makes never is. The state is told so at each claim.
"""

from collections.abc import Callable, Collection
from typing import Protocol

SOON = 0.2  # seconds in which a few places become free: one look for all of them
_A_FEW = 4  # a quarter of all


class Seated(Protocol):
    """How far the reply to a turn is, as its seat knows."""

    @property
    def is_taken(self) -> bool:
        """Whether it is about to be made, or is just made."""

    @property
    def is_made(self) -> bool:
        """Whether nobody makes it any more."""


class FlowPlaces:
    """So many places in n8n; `is_elsewhere` says that another makes the reply to a turn."""

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
        """Return in how many seconds to look for turns, as one has ended.

        At once where a quarter of the places is free; while almost all are taken, they are given
        away a few at a time, for a look for one costs as much as one for many.
        """
        return 0.0 if self.free(own) * _A_FEW >= self.count else SOON
