"""What a person would do while preparing an answer: read the message, be seen typing.

Never more than a courtesy: it goes on by itself beside the making of the reply, nothing waits for
it, and its failures are only logged. It begins a moment later, so that the question is on its way
to the LLM before anything is done for looks. What was begun ends by itself: a request that is
cancelled costs its connection, and Evolution does it all the same. What has not begun when it is
not wanted any more is left out.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.evolution.errors import EvolutionError
from router.evolution.sends import EvolutionSends
from router.sharing.shares import TENANT, Shares
from router.state.calls.claimed_turn import ClaimedTurn
from router.tenants.instance import TenantLine

_log = logging.getLogger(__name__)
_AT_ONCE = 50
_LATER = 0.05  # seconds


@dataclass(slots=True)
class _Wanted:
    """What of one turn's courtesy is still wanted."""

    reading: bool = True
    typing: bool = True


class Courtesy:
    """Marks as read and shows "typing…" for `typing_seconds` (0: not at all).

    `at_once` turns are shown it at the same time, not all of one tenant; further ones do without.
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
        self._cannot: set[str] = set()  # instances whose channel has neither
        self._under_way: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def during(self, turn: ClaimedTurn, line: TenantLine) -> AsyncIterator[None]:
        """Be courteous while the block makes the reply."""
        wanted = _Wanted()
        self._begin(turn, line, wanted)
        try:
            yield
        except BaseException:
            wanted.reading = False
            raise
        finally:
            wanted.typing = False

    def type_for(
        self, turn: ClaimedTurn, line: TenantLine, seconds: float, *, presence: str = "composing"
    ) -> None:
        """Have "typing…" shown for so long, from now on; who writes waits by themselves."""
        if self._typing_ms:
            self._begin_task(turn, self._type(turn, line, round(seconds * 1000), presence))

    async def stop(self) -> None:
        """Break off what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _begin(self, turn: ClaimedTurn, line: TenantLine, wanted: _Wanted) -> None:
        self._begin_task(turn, self._read_and_type(turn, line, wanted))

    def _begin_task(self, turn: ClaimedTurn, show: Coroutine[None, None, bool]) -> None:
        """Show it in a task of its own, if there is a place for that."""
        if turn.tenant.instance_name in self._cannot or turn.session.chat == "group":
            show.close()
            return
        place = self._places.take_now({turn.tenant.instance_name: TENANT})
        if place is None:
            show.close()
            return
        task = asyncio.create_task(self._show(turn, show), name=f"courtesy {turn.turn_id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(lambda _: place.give_back())

    async def _show(self, turn: ClaimedTurn, show: Coroutine[None, None, bool]) -> None:
        try:
            able = await show
        except EvolutionError as error:
            _log.debug("no courtesy shown: %s", error)
            return
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and nobody misses it
            _log.warning("no courtesy shown: %r", error, exc_info=error)
            return
        if not able:
            self._cannot.add(turn.tenant.instance_name)

    async def _read_and_type(self, turn: ClaimedTurn, line: TenantLine, wanted: _Wanted) -> bool:
        """Do what is still wanted. Returns False where the channel cannot."""
        await asyncio.sleep(self._later)
        if not wanted.reading:
            return True
        seen = [m.wa_id for m in turn.history if m.in_turn and m.wa_id]
        able = await self._evolution.mark_read(line.instance(), turn.session.jid, seen)
        if not (able and self._typing_ms and wanted.typing):
            return able
        return await self._type(turn, line, self._typing_ms)

    async def _type(
        self,
        turn: ClaimedTurn,
        line: TenantLine,
        milliseconds: int,
        presence: str = "composing",
    ) -> bool:
        return await self._evolution.send_presence(
            line.instance(), turn.session.jid, presence=presence, delay_ms=milliseconds
        )
