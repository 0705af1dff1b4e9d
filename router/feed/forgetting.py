"""Deletes changes after some minutes, in every router, even if there are no followers."""

from router.running.loops import Loop
from router.state.calls.changes import forget_changes
from router.state.database import Database

_APART = 60.0
_AT_ONCE_MORE = 0.1


class Forgetting:
    """Deletes old changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = Loop(self.step, pause=_APART, failed="old changes could not be deleted")

    async def run(self) -> None:
        """Delete until `stop`."""
        await self._loop.run()

    def stop(self) -> None:
        """Stop deleting."""
        self._loop.stop()

    async def step(self) -> float:
        """Delete some changes. Return the seconds until the next time."""
        forgotten = await forget_changes(self._database)
        return _AT_ONCE_MORE if forgotten.more else _APART
