"""Where a turn's reply is sent: the tenant's Evolution instance and its key."""

from pydantic import SecretStr

from router.evolution.client import Instance
from router.evolution.errors import EvolutionRefused
from router.turns.claimed import ClaimedTurn


class InstanceFinder:
    """Knows the key that serves tenants without one of their own (EVOLUTION_API_KEY)."""

    def __init__(self, default_key: SecretStr | None) -> None:
        self._default_key = default_key

    def of_turn(self, turn: ClaimedTurn) -> Instance:
        """Return the instance of the turn's tenant. Raises EvolutionRefused without a key."""
        key = turn.tenant.evo_api_key or self._default_key
        if key is None:
            raise EvolutionRefused(
                f"no Evolution key for {turn.tenant.instance_name}: set the tenant's evo_api_key"
                " or EVOLUTION_API_KEY"
            )
        return Instance(
            server_url=turn.tenant.evo_server_url, api_key=key, name=turn.tenant.instance_name
        )
