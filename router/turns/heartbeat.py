"""Renews the leases of the attempts under way, so that only a living process keeps its turns.

This allows short leases: when a process dies, another one soon takes over its turns.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from router.running.claims import Work
from router.running.loops import Loop
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.turns import HeldTurn, RenewTurns, renew_turns
from router.state.database import Database
from router.turns.seats import Seat

_BEATS = 3  # per lease, so that one failed renewal does no harm


class Attempt(Work, Protocol):
    """An attempt at a turn, as the claiming loop sees it."""

    @property
    def leaves_due(self) -> bool:
        """Whether another turn may be due, without a worker, once this one is closed."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An attempt, and the turn that it has claimed."""

    turn: ClaimedTurn
    attempt: Attempt
    seat: Seat

    async def run(self) -> None:
        """Work on the turn."""
        await self.attempt.run()

    def stop(self) -> bool:
        """Ask the attempt to give the turn back."""
        return self.attempt.stop()


class Heartbeat:
    """The loop. `under_way` returns what this process works on, by task."""

    def __init__(
        self,
        database: Database,
        under_way: Callable[[], Mapping["asyncio.Task[None]", UnderWay]],
        *,
        worker: str,
        lease: float,
    ) -> None:
        """`worker` is the name under which turns are claimed, `lease` their lease in seconds."""
        self._database = database
        self._under_way = under_way
        self._worker = worker
        self._lease = lease
        beat = lease / _BEATS
        self._loop = Loop(self._beat, pause=beat, failed="leases could not be renewed")

    async def run(self) -> None:
        """Renew the leases until `stop`."""
        await self._loop.run()

    async def stop(self) -> None:
        """Stop renewing."""
        self._loop.stop()

    async def _beat(self) -> float:
        work = dict(self._under_way())
        if work:
            asked = RenewTurns(
                turns=tuple(HeldTurn(**each.turn.held) for each in work.values()),
                worker=self._worker,
                lease_seconds=self._lease,
            )
            self._give_up(work, set((await renew_turns(self._database, asked)).lost))
        return self._lease / _BEATS

    def _give_up(self, work: Mapping["asyncio.Task[None]", UnderWay], lost: set[int]) -> None:
        """End attempts whose turn is closed or has another worker: the fence would refuse them."""
        for task, each in work.items():
            if each.turn.turn_id in lost and each.attempt.stop():
                task.cancel()
