"""Shows "typing…" or "recording…" on the phone, for a flow."""

from time import monotonic

from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends
from router.sending.times import COURTESY_PATIENCE


class Presence:
    """Shows presences. They say nothing, so they pass no fence."""

    def __init__(self, evolution: EvolutionSends) -> None:
        self._evolution = evolution

    async def show(self, instance: Instance, number: str, presence: str, delay_ms: int) -> None:
        """Show `presence` for `delay_ms`, soon, if the channel can. Raises EvolutionError."""
        await self._evolution.send_presence(
            instance,
            number,
            presence=presence,
            delay_ms=delay_ms,
            begin_by=monotonic() + COURTESY_PATIENCE,
        )
