"""Behaves as a person would around an answer: shows "typing…", and marks messages as read.

A message is marked as read only when its reply is there: an unanswered message stays unread on the
phone of the business.

This is only a courtesy: it runs while the reply is made, nothing waits for it, and its failures are
only logged. It begins a moment later than the request to the LLM. A request to Evolution that has
begun is never cancelled: that would cost the connection, and Evolution would carry it out anyway. A
request that has not begun is dropped when it is no longer wanted, or when too much time has passed
since it was: the router may have stood still meanwhile.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic

from router.evolution.errors import EvolutionError
from router.evolution.sends import EvolutionSends
from router.sending.times import COURTESY_PATIENCE
from router.sharing.shares import TENANT, Shares
from router.state.calls.claimed_turn import ClaimedTurn
from router.tenants.instance import TenantLine

_log = logging.getLogger(__name__)
_AT_ONCE = 50
_LATER = 0.05  # seconds
_ROUNDS = 3  # of the event loop, to let the reply's next part, or the turn's end, go first

# A function, not a coroutine: a task cancelled before it began would leave the coroutine unawaited.
# It takes the time (monotonic) by which its request must begin.
_Show = Callable[[float], Awaitable[bool]]


@dataclass(slots=True)
class _Wanted:
    """Whether "typing…" is still wanted."""

    typing: bool = True


class Courtesy:
    """Marks as read and shows "typing…" for `typing_seconds` (0: not at all).

    It is shown for at most `at_once` turns at a time, of which one tenant has only a share; beyond
    that it is not shown.
    """

    def __init__(
        self,
        evolution: EvolutionSends,
        typing_seconds: float,
        *,
        at_once: int = _AT_ONCE,
        later: float = _LATER,
    ) -> None:
        self._evolution = evolution
        self._typing_ms = int(typing_seconds * 1000)
        self._places = Shares(at_once)
        self._later = later
        self._cannot: set[str] = set()  # instances whose channel supports neither
        self._under_way: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def during(self, turn: ClaimedTurn, line: TenantLine) -> AsyncIterator[None]:
        """Show "typing…" while the block makes the reply."""
        wanted = _Wanted()
        if self._typing_ms:
            self._begin_task(turn, line, partial(self._type_soon, turn, line, wanted))
        try:
            yield
        finally:
            wanted.typing = False

    def read(self, turn: ClaimedTurn, line: TenantLine) -> None:
        """Mark the messages that the turn answers as read, if the tenant wants that."""
        seen = [m.wa_id for m in turn.history if m.in_turn and m.wa_id]
        if seen and turn.tenant.mark_as_read and turn.session.chat != "group":
            self.read_these(line, turn.session.jid, seen)

    def read_these(self, line: TenantLine, jid: str, wa_ids: Sequence[str]) -> None:
        """Mark these messages of a chat as read."""
        self._begin_for(line, partial(self._read, line, jid, wa_ids))

    def type_for(
        self, turn: ClaimedTurn, line: TenantLine, seconds: float, *, presence: str = "composing"
    ) -> None:
        """Show "typing…" for this long, starting now. Returns at once: the caller waits itself."""
        if self._typing_ms:
            milliseconds = round(seconds * 1000)
            self._begin_task(turn, line, partial(self._type, turn, line, milliseconds, presence))

    async def stop(self) -> None:
        """Cancel what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _begin_task(self, turn: ClaimedTurn, line: TenantLine, show: _Show) -> None:
        """Show the courtesy for a turn in a separate task; never in a group."""
        if turn.session.chat != "group":
            self._begin_for(line, show)

    def _begin_for(self, line: TenantLine, show: _Show) -> None:
        """Show the courtesy in a separate task, if there is a place for it."""
        name = line.stored.instance_name
        place = None if name in self._cannot else self._places.take_now({name: TENANT})
        if place is None:
            return
        begin_by = monotonic() + COURTESY_PATIENCE
        task = asyncio.create_task(self._show(name, show, begin_by), name=f"courtesy of {name}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(lambda _: place.give_back())

    async def _show(self, name: str, show: _Show, begin_by: float) -> None:
        try:
            able = await show(begin_by)
        except EvolutionError as error:
            _log.debug("no courtesy shown: %s", error)
            return
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and nobody misses it
            _log.warning("no courtesy shown: %r", error, exc_info=error)
            return
        if not able:
            self._cannot.add(name)

    async def _type_soon(
        self, turn: ClaimedTurn, line: TenantLine, wanted: _Wanted, begin_by: float
    ) -> bool:
        """Show "typing…" if it is still wanted. Returns False if the channel cannot show it."""
        await asyncio.sleep(self._later)
        if not wanted.typing:
            return True
        return await self._type(turn, line, self._typing_ms, "composing", begin_by)

    async def _read(
        self, line: TenantLine, jid: str, wa_ids: Sequence[str], begin_by: float
    ) -> bool:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        return await self._evolution.mark_read(line.instance(), jid, list(wa_ids), begin_by)

    async def _type(
        self,
        turn: ClaimedTurn,
        line: TenantLine,
        milliseconds: int,
        presence: str,
        begin_by: float,
    ) -> bool:
        return await self._evolution.send_presence(
            line.instance(),
            turn.session.jid,
            presence=presence,
            delay_ms=milliseconds,
            begin_by=begin_by,
        )
