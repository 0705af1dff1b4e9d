"""Where a turn's reply is sent: the tenant's Evolution instance and its key."""

from router.evolution.client import Instance
from router.tenant_instance import InstanceKeys
from router.turns.claimed import ClaimedTurn


class InstanceFinder:
    """Knows which key serves which tenant."""

    def __init__(self, keys: InstanceKeys) -> None:
        self._keys = keys

    def of_turn(self, turn: ClaimedTurn) -> Instance:
        """Return the instance of the turn's tenant. Raises EvolutionRefused without a key."""
        tenant = turn.tenant
        stored = tenant.evo_api_key.get_secret_value() if tenant.evo_api_key else None
        return self._keys.instance(
            {
                "tenant_id": tenant.tenant_id,
                "instance_name": tenant.instance_name,
                "evo_server_url": tenant.evo_server_url,
                "evo_api_key": stored,
            }
        )
