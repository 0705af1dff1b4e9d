"""Whether a reply that is made again could leave: asked before the LLM is, for that costs."""

from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionAway, EvolutionRefused
from router.sending.outcomes import SendFailed
from router.tenants.instance import TenantLine

_DOWN = ("close", "connecting")


class Lines:
    """The tenants' lines to WhatsApp, as Evolution tells of them."""

    def __init__(self, evolution: EvolutionClient) -> None:
        self._evolution = evolution

    async def require(self, line: TenantLine) -> None:
        """Return where a reply could leave. Raises SendFailed where Evolution or line is away."""
        try:
            state = await self._evolution.connection_state(line.instance())
        except EvolutionRefused:
            return  # the send itself says it better
        except EvolutionAway as error:
            raise SendFailed(error) from error
        if state in _DOWN:
            raise SendFailed(EvolutionAway(f"the line to WhatsApp is still down: {state}"))
