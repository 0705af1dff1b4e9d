"""What a person would do while preparing an answer: read the message, be seen typing.

Never more than a courtesy: it runs beside the making of the reply, nothing waits for it, and its
failures are only logged.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from router.evolution.client import EvolutionClient, Instance
from router.evolution.errors import EvolutionError
from router.turns.claimed import ClaimedTurn

_log = logging.getLogger(__name__)


class Courtesy:
    """Marks as read and shows "typing…" for `typing_seconds` (0: not at all)."""

    def __init__(
        self,
        evolution: EvolutionClient,
        instance_of: Callable[[ClaimedTurn], Instance],
        typing_seconds: float,
    ) -> None:
        self._evolution = evolution
        self._instance_of = instance_of
        self._typing_ms = int(typing_seconds * 1000)
        self._cannot: set[str] = set()  # instances whose channel has neither

    @asynccontextmanager
    async def during(self, turn: ClaimedTurn) -> AsyncIterator[None]:
        """Be courteous while the block makes the reply."""
        showing = asyncio.create_task(self._show(turn))
        try:
            yield
        finally:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing

    async def _show(self, turn: ClaimedTurn) -> None:
        if turn.tenant.instance_name in self._cannot or turn.session.chat == "group":
            return
        seen = [m.wa_id for m in turn.history if m.in_turn and m.wa_id]
        try:
            instance = self._instance_of(turn)
            able = await self._evolution.mark_read(instance, turn.session.jid, seen)
            if able and self._typing_ms:
                able = await self._evolution.send_presence(
                    instance, turn.session.jid, delay_ms=self._typing_ms
                )
        except EvolutionError as error:
            _log.debug("no courtesy shown: %s", error)
            return
        if not able:
            self._cannot.add(turn.tenant.instance_name)
