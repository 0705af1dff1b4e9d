"""How many turns more n8n may have: what this router knows of its own before the state does.

The state counts a turn as n8n's from when it was given to it until it is closed. This router knows
better of its own turns: one that is claimed is on its way there, though it is not counted yet; one
whose flow has answered is n8n's no more, however long it is sent.
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

    @property
    def has_answer(self) -> bool:
        """Whether a flow has made it, and it is on its way out."""


class FlowPlaces:
    """So many places in n8n; `is_elsewhere` says that another makes the reply to a turn."""

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
        """Return in how many seconds to look for turns, as one has ended.

        At once where a quarter of the places is free; while almost all are taken, they are given
        away a few at a time, for a look for one costs as much as one for many.
        """
        return 0.0 if self.free(own) * _A_FEW >= self._count else SOON
