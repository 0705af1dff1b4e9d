"""The loop that claims work from the state and starts it, a limited amount at a time.

It sleeps until the next work that it knows of is due. Actions of this process wake it, and it also
looks from time to time for work that other processes have left behind. Its owner decides what is
claimed (turns, notices, executions), how much, and what is done with it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from router.running.loops import Loop, log_unexpected
from router.running.stopping import STOP_GRACE, end_tasks

_LOCKED_ELSEWHERE = 0.2  # seconds until it looks again at due work that another process has locked


class Work(Protocol):
    """One piece of claimed work."""

    async def run(self) -> None:
        """Do the work, and record in the state how it ended. Raises only CancelledError."""

    def stop(self) -> bool:
        """Ask the work to give back its claim. Returns whether to cancel its task at once."""


class TenantsWork(Work, Protocol):
    """One piece of work that was claimed for a tenant."""

    @property
    def tenant_id(self) -> int:
        """The tenant's id."""


class Claimed(Protocol):
    """What a claim returns in addition to the work; it serves the tenants in turns."""

    @property
    def now(self) -> datetime:
        """The state's clock."""

    @property
    def after_tenant(self) -> int:
        """The tenant that was served last."""

    @property
    def more(self) -> bool:
        """Whether there may be more to claim right now."""

    @property
    def next_due_at(self) -> datetime | None:
        """When the next work is due, if no more is due now; None: there is no more work."""


W = TypeVar("W", bound=Work)
T = TypeVar("T", bound=TenantsWork)


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a look for work.

    `more`: there is more to claim right now. `due_in`: seconds until some is due; None: there is
    none. `left`: some is due but was not claimed; that may change when other work ends.
    """

    more: bool
    due_in: float | None = None
    left: bool = True


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """How work is claimed. `poll` is the longest time between two looks, in seconds.

    If a look fails, the text `failed` is logged, and the next look comes after `pause` seconds.
    """

    poll: float
    pause: float
    failed: str


def seconds_until(due_at: datetime | None, now: datetime) -> float | None:
    """Return the seconds from `now` to `due_at`, both by the state's clock."""
    return None if due_at is None else (due_at - now).total_seconds()


def seconds_to_next(look: Look, *, has_room: bool, poll: float) -> float:
    """Return the seconds until the next look. Without room, work that ends wakes the loop."""
    if look.more and has_room:
        return 0.0
    if look.due_in is None or (look.due_in <= 0 and not has_room):
        return poll
    return min(max(look.due_in, _LOCKED_ELSEWHERE), poll)


class ClaimLoop(Generic[W]):
    """Claims work, and keeps track of what is under way."""

    def __init__(
        self,
        claim: Callable[[int], Awaitable[Look]],
        free: Callable[[], int],
        terms: ClaimTerms,
    ) -> None:
        """Take `claim`, which claims and begins at most this much, and `free`, how much that is.

        An owner may set these: `when_full` is called instead of a look while nothing is free, and
        says when to look again. `ended` is called when a piece of work has ended. `leaves_due` says
        whether work may be due after that; if not, and if the last look left none, there is no
        look. `soon` says in how many seconds that look comes.
        """
        self.under_way: dict[asyncio.Task[None], W] = {}
        self.when_full: Callable[[], Awaitable[float]] | None = None
        self.ended: Callable[[W], None] = lambda _: None
        self.leaves_due: Callable[[W], bool] = lambda _: True
        self.soon: Callable[[], float] = lambda: 0.0
        self._left = True
        self._is_looking = False
        self._has_one_ended = False
        """Whether work that leaves nothing due has ended since the look under way began."""
        self._claim = claim
        self._free = free
        self._terms = terms
        self._loop = Loop(self.step, pause=terms.pause, failed=terms.failed)

    def wake(self, due_in: float = 0.0) -> None:
        """Look for work now, or in `due_in` seconds."""
        self._loop.wake(due_in)

    async def run(self) -> None:
        """Claim until `stop`."""
        await self._loop.run()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Claim nothing more, and give back what is possible; the rest has `grace` seconds."""
        self._loop.stop()
        await asyncio.sleep(0)  # new tasks begin: cancelled earlier, they would give nothing back
        self.stop_those(lambda _: True)
        await end_tasks(self.under_way, grace)

    def stop_those(self, chosen: Callable[[W], bool]) -> None:
        """Ask these pieces of work to give back their claims."""
        for task, work in list(self.under_way.items()):
            if chosen(work) and work.stop():
                task.cancel()

    async def step(self) -> float:
        """Look once, if there is room. Returns the seconds until the next look."""
        self._left = True  # until a look says otherwise
        if (free := self._free()) <= 0:
            return self._terms.poll if self.when_full is None else await self.when_full()
        self._is_looking, self._has_one_ended = True, False
        try:
            look = await self._claim(free)
        finally:
            self._is_looking = False
        self._left = look.left
        if look.left and self._has_one_ended:  # what was left may have waited for that one
            self._loop.wake(self.soon())
        return seconds_to_next(look, has_room=self._free() > 0, poll=self._terms.poll)

    def begin(self, name: str, begun: Callable[[], W]) -> None:
        """Begin a claimed piece of work, `name` in the log; a failure does not stop the others."""
        try:
            self._start(name, begun())
        except Exception as error:  # noqa: BLE001 - the others were claimed as well
            log_unexpected(f"{name} could not be begun", error)

    def _start(self, name: str, work: W) -> None:
        task = asyncio.create_task(work.run(), name=name)
        self.under_way[task] = work
        task.add_done_callback(self._has_ended)
        if self._loop.is_stopping:
            work.stop()

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        work = self.under_way.pop(task)
        self.ended(work)
        if self.leaves_due(work) or (self._left and not self._is_looking):
            self._loop.wake(self.soon())
        self._has_one_ended = True
        if not task.cancelled() and (error := task.exception()) is not None:
            log_unexpected(f"{task.get_name()} ended unexpectedly", error)


class Claimant(ABC, Generic[W]):
    """Claims one kind of work, with at most `parallel` pieces under way."""

    def __init__(self, parallel: int, terms: ClaimTerms) -> None:
        self._parallel = parallel
        self._claims = ClaimLoop[W](self._claim, self._free, terms)

    def wake(self) -> None:
        """Look for work now."""
        self._claims.wake()

    async def run(self) -> None:
        """Claim work and begin it, until `stop`."""
        await self._claims.run()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Claim nothing more, and give back what is possible; a message being sent has `grace`."""
        await self._claims.stop(grace)

    def _free(self) -> int:
        return self._parallel - len(self._claims.under_way)

    @abstractmethod
    async def _claim(self, free: int) -> Look:
        """Claim at most this much due work, and begin it."""


class TenantsClaimant(Claimant[T]):
    """Claims for all tenants in turns: a look begins after the tenant that was served last."""

    def __init__(self, parallel: int, terms: ClaimTerms) -> None:
        super().__init__(parallel, terms)
        self._after_tenant = 0

    def _own(self) -> Counter[str]:
        """Count the work under way in this process, by tenant."""
        return Counter(str(each.tenant_id) for each in self._claims.under_way.values())

    def _seen(self, claimed: Claimed, *, some: bool) -> Look:
        """Return the result of a look that claimed `some`, or nothing."""
        self._after_tenant = claimed.after_tenant
        if claimed.more:  # if none could be claimed, other processes have locked them
            return Look(more=some, due_in=0.0)
        return Look(more=False, due_in=seconds_until(claimed.next_due_at, claimed.now))
