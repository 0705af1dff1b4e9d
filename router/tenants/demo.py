"""The demo business's tenant: made anew each time it is played, served by a router of its own."""

from collections.abc import Mapping
from typing import Any

from router.configuration.settings import ConfigurationError, Settings
from router.embedded.alone import alone
from router.state.calls import demo
from router.state.calls.tenants import Tenant
from router.state.database import Database
from router.tenants.sealing import Vault, place_of_key

TENANT_ID = 1_000_000
"""An id far away from those of real tenants, which begin at 1."""
IS_PLAYED = (
    "the demo business is played on this data folder already, by another make run: open the address"
    " that it printed. To start a second one, set HYBRIDFLOW_DATA to another folder"
)


async def begin_demo(database: Database, settings: Settings, values: Mapping[str, Any]) -> Tenant:
    """Make the demo's tenant, replacing an earlier one. Raises Conflict if a real tenant exists."""
    vault = Vault(settings.secrets_key)
    sealed = vault.seal(values["evo_api_key"], place_of_key("evo_api_key", TENANT_ID))
    asked = demo.BeginDemo(tenant_id=TENANT_ID, values={**values, "evo_api_key": sealed})
    return (await demo.begin_demo(database, asked)).tenant


async def refuse_beside_demo(database: Database, settings: Settings) -> None:
    """Refuse to start a router on the data folder of a running `make run` demo.

    Such a router would claim the demo's turns without an LLM for them. Raises ConfigurationError.
    """
    if settings.database_url is not None or settings.supabase_url is not None:
        return
    found = await demo.look_at_demo(database)
    if found.has_tenants or found.tenant_id is None:
        return
    with alone(settings.hybridflow_data) as nobody_plays:
        if not nobody_plays:
            raise ConfigurationError({"HYBRIDFLOW_DATA": IS_PLAYED})
