"""Checks whether a reply could be sent before it is made again: the LLM costs money."""

from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionAway, EvolutionRefused
from router.sending.outcomes import SendFailed
from router.tenants.instance import TenantLine

_DOWN = ("close", "connecting")


class Lines:
    """The state of the tenants' lines to WhatsApp, as Evolution reports it."""

    def __init__(self, evolution: EvolutionClient) -> None:
        self._evolution = evolution

    async def require(self, line: TenantLine) -> None:
        """Return if a reply could be sent. Raises SendFailed if Evolution or the line is away."""
        try:
            state = await self._evolution.connection_state(line.instance())
        except EvolutionRefused:
            return  # the send itself gives a better error
        except EvolutionAway as error:
            raise SendFailed(error) from error
        if state in _DOWN:
            raise SendFailed(EvolutionAway(f"the line to WhatsApp is still down: {state}"))
