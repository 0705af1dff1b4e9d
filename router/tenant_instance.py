"""A tenant's Evolution instance, found by its name."""

from dataclasses import dataclass

from pydantic import SecretStr

from router.evolution.client import Instance
from router.evolution.errors import EvolutionRefused
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class TenantInstance:
    """What is known of it; `key` is the tenant's own, else EVOLUTION_API_KEY, else None."""

    tenant_id: int
    name: str
    server_url: str
    key: SecretStr | None
    llm_provider: str
    is_active: bool

    def reachable(self) -> Instance:
        """Return it as the Evolution client takes it. Raises EvolutionRefused without a key."""
        if self.key is None:
            raise EvolutionRefused(
                f"no Evolution key for {self.name}:"
                " set the tenant's evo_api_key or EVOLUTION_API_KEY"
            )
        return Instance(server_url=self.server_url, api_key=self.key, name=self.name)


async def find_instance(
    database: Database, name: str, default_key: SecretStr | None
) -> TenantInstance:
    """Return the instance `name`. Raises NotFound where no tenant has it, and DatabaseAway."""
    found = await database.call("get_instance", {"instance_name": name})
    own_key = found["evo_api_key"]
    return TenantInstance(
        tenant_id=found["tenant_id"],
        name=found["instance_name"],
        server_url=found["evo_server_url"],
        key=SecretStr(own_key) if own_key else default_key,
        llm_provider=found["llm_provider"],
        is_active=found["is_active"],
    )
