"""What a flow shows on the phone: "typing…", or "recording…"."""

from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends


class Presence:
    """Shows it; it says nothing, so it passes no fence."""

    def __init__(self, evolution: EvolutionSends) -> None:
        self._evolution = evolution

    async def show(self, instance: Instance, number: str, presence: str, delay_ms: int) -> None:
        """Show it for this long, if the channel can. Raises EvolutionError."""
        await self._evolution.send_presence(instance, number, presence=presence, delay_ms=delay_ms)
