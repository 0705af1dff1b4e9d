"""The tenant of the demo business, made anew each time it is played."""

from collections.abc import Mapping
from typing import Any

from router.configuration.settings import Settings
from router.state.calls import demo
from router.state.calls.tenants import Tenant
from router.state.database import Database
from router.tenants.sealing import Vault, place_of_key

TENANT_ID = 1_000_000
"""Far from the ids of real tenants, which begin at 1."""


async def begin_demo(database: Database, settings: Settings, values: Mapping[str, Any]) -> Tenant:
    """Make it, in place of an earlier one. Raises Conflict where there is a real tenant."""
    vault = Vault(settings.secrets_key)
    sealed = vault.seal(values["evo_api_key"], place_of_key("evo_api_key", TENANT_ID))
    asked = demo.BeginDemo(tenant_id=TENANT_ID, values={**values, "evo_api_key": sealed})
    return (await demo.begin_demo(database, asked)).tenant
