"""Lets routers that cannot listen to the database find one another through the table of changes.

Each router announces itself there, and writes a call there when it is full. A router looks for
calls often only if it knows of another router: for a minute after its own start, and as long as
others keep announcing themselves. So a lone router costs the database almost nothing.
"""

from collections.abc import Callable
from typing import Final

from router.state.calls.changes import Change, GreetRouters, greet_routers
from router.state.database import Database

OFTEN: Final = 1.0  # seconds between two looks, if there is another router
ALONE: Final = 30.0
_BETWEEN_GREETINGS = 240.0
_BELIEVED = 500.0  # seconds for which another router's announcement is valid
_NEW = 60.0  # seconds after its start in which a router cannot know whether there are others


class Neighbours:
    """What a router that cannot listen knows of others. `called`: another router is full."""

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
        """The seconds until the next look for calls."""
        return OFTEN if self._clock() < self._until else ALONE

    async def greet(self) -> None:
        """Announce this router, if it is time to do so again."""
        if self._clock() >= self._greets_at:
            await greet_routers(self._database, GreetRouters(by=self._name))
            self._greets_at = self._clock() + _BETWEEN_GREETINGS

    def hear(self, change: Change) -> None:
        """Handle a message of another router among the changes."""
        if change.router is None or change.router == self._name:
            return
        if change.router not in self._known:  # it does not know this router either
            self._known.add(change.router)
            self._greets_at = float("-inf")
        self._until = max(self._until, self._clock() + _BELIEVED)
        if change.kind == "call":
            self._called()

    def miss(self) -> None:
        """Handle that changes may have been missed."""
        self._called()
