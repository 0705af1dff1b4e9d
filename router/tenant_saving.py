"""Creating and changing tenants: their secrets are sealed before they reach the state."""

from collections.abc import Mapping
from typing import Any

from router.sealing import Vault, place_of_evolution_key
from router.state.database import Database, Json

_KEY = "evo_api_key"


async def create_tenant(database: Database, vault: Vault, values: Mapping[str, Any]) -> Json:
    """Create a tenant of the values, as SQL's create_tenant does. Returns the tenant."""
    argument: Json = {"values": values}
    if values.get(_KEY) and vault.has_key:
        # What is sealed is bound to its row, so the row's id comes first.
        tenant_id = (await database.call("reserve_tenant", {}))["tenant_id"]
        argument = {"tenant_id": tenant_id, "values": _sealed(vault, tenant_id, values)}
    created: Json = (await database.call("create_tenant", argument))["tenant"]
    return created


async def change_tenant(
    database: Database, vault: Vault, tenant_id: int, values: Mapping[str, Any]
) -> Json:
    """Change what is given of a tenant, as SQL's change_tenant does. Returns the tenant."""
    argument = {"tenant_id": tenant_id, "values": _sealed(vault, tenant_id, values)}
    changed: Json = (await database.call("change_tenant", argument))["tenant"]
    return changed


def _sealed(vault: Vault, tenant_id: int, values: Mapping[str, Any]) -> Json:
    key = values.get(_KEY)
    if not key:
        return dict(values)
    return {**values, _KEY: vault.seal(key, place_of_evolution_key(tenant_id))}
