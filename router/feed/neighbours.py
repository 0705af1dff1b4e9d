"""Routers that cannot listen, and find one another by what stands among the changes.

Each says there that it is here, and calls there when it is full. So that one alone costs a database
next to nothing, it looks for calls often only where it knows of another: for a minute after its own
start, and for as long as others go on to say that they are here.
"""

from collections.abc import Callable
from typing import Final

from router.state.calls.changes import Change, GreetRouters, greet_routers
from router.state.database import Database

OFTEN: Final = 1.0  # seconds between two looks, where another router is
ALONE: Final = 30.0
_BETWEEN_GREETINGS = 240.0
_BELIEVED = 500.0  # that another is here, since it said so
_NEW = 60.0  # for so long it is not known whether another is here


class Neighbours:
    """What a router that cannot listen knows of others. `called` is for turns."""

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        called: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._name = name
        self._called = called
        self._clock = clock
        self._until = clock() + _NEW
        self._greets_at = float("-inf")
        self._known: set[str] = set()

    @property
    def pace(self) -> float:
        """How many seconds may pass until the next look for calls."""
        return OFTEN if self._clock() < self._until else ALONE

    async def greet(self) -> None:
        """Say that this one is here, where it is time to say so again."""
        if self._clock() >= self._greets_at:
            await greet_routers(self._database, GreetRouters(by=self._name))
            self._greets_at = self._clock() + _BETWEEN_GREETINGS

    def hear(self, change: Change) -> None:
        """Note what another router says among the changes."""
        if change.router is None or change.router == self._name:
            return
        if change.router not in self._known:  # it does not know of this one either
            self._known.add(change.router)
            self._greets_at = float("-inf")
        self._until = max(self._until, self._clock() + _BELIEVED)
        if change.kind == "call":
            self._called()

    def miss(self) -> None:
        """Something may have been said that this one did not hear."""
        self._called()
