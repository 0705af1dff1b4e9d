"""How many more turns n8n may have, including what only this router knows yet.

The state counts a turn as n8n's from the moment it is given to n8n until it is closed. This router
knows more about its own turns: a claimed turn may be on its way to n8n and not counted yet; once
the flow has answered or failed, n8n is done with the turn, even if sending takes long; and n8n
never has the turns of the fallback handler. Each claim tells the state what this router knows.
"""

from collections.abc import Callable, Collection
from typing import Protocol

SOON = 0.2  # seconds; places that become free within this time are filled by one claim
_A_FEW = 4  # a quarter of all


class Seated(Protocol):
    """How far the reply to a turn is, as its seat knows."""

    @property
    def is_taken(self) -> bool:
        """Whether its reply is about to be made, or being made."""

    @property
    def needs_no_flow(self) -> bool:
        """Whether no flow makes its reply, or none does any more."""


class FlowPlaces:
    """The places in n8n; `is_elsewhere` says that another handler makes a turn's reply."""

    def __init__(self, count: int, is_elsewhere: Callable[[int], bool]) -> None:
        self.count = count
        self._is_elsewhere = is_elsewhere

    def has(self, turn_id: int, seat: Seated) -> bool:
        """Whether the reply to a turn of this router is made in n8n, or about to be."""
        return seat.is_taken and not seat.needs_no_flow and not self._is_elsewhere(turn_id)

    def free(self, own: Collection[tuple[int, Seated]]) -> int:
        """Return how many places the turns of this router leave free."""
        return self.count - sum(self.has(*each) for each in own)

    def soon(self, own: Collection[tuple[int, Seated]]) -> float:
        """Return in how many seconds to claim the next turns, now that one has ended.

        0 if a quarter of the places is free. While almost all are taken, a few are filled together,
        because a claim of one turn costs as much as a claim of many.
        """
        return 0.0 if self.free(own) * _A_FEW >= self.count else SOON
