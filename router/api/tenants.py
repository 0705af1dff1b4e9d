"""Endpoints to list, read, create and change tenants."""

import logging

from router.api.dependencies import Caller, PathId, TheDatabase, TheLists, TheSettings
from router.api.keyed import keyed
from router.api.queries import AskedSpending, AskedTenants
from router.api.tenant_values import NewTenant, TenantValues
from router.logs.events import Action, log_event
from router.state.calls import retention, spending, tenants
from router.state.calls.retention import TenantStats
from router.state.calls.spending import Spending
from router.state.calls.tenants import Tenant, TenantPage
from router.tenants import saving
from router.tenants.policy import budgets

router = keyed("tenants")
_log = logging.getLogger(__name__)


@router.get("/tenants", summary="List the tenants")
async def list_tenants(query: AskedTenants, database: TheLists) -> TenantPage:
    """In the order of creation."""
    return await tenants.list_tenants(database, tenants.ListTenants(**query.model_dump()))


@router.post("/tenants", status_code=201, summary="Create a tenant")
async def create_tenant(
    tenant: NewTenant, database: TheDatabase, settings: TheSettings, caller: Caller
) -> Tenant:
    """409: another tenant has the instance. 422: names the wrong value, and the cure."""
    created = await saving.create_tenant(database, settings, tenant.given())
    _say(Action.TENANT_CREATED, "tenant created", created, caller, tenant)
    return created


@router.get("/tenants/{tenant_id}", summary="Get a tenant")
async def get_tenant(tenant_id: PathId, database: TheDatabase) -> Tenant:
    """Shows whether there is a key of Evolution, never the key."""
    return (await tenants.get_tenant(database, tenants.GetTenant(tenant_id=tenant_id))).tenant


@router.patch("/tenants/{tenant_id}", summary="Change a tenant")
async def change_tenant(
    tenant_id: PathId,
    values: TenantValues,
    database: TheDatabase,
    settings: TheSettings,
    caller: Caller,
) -> Tenant:
    """Only the given values change. The next message is handled with the new settings."""
    changed = await saving.change_tenant(database, settings, tenant_id, values.given())
    _say(Action.TENANT_CHANGED, "tenant changed", changed, caller, values)
    return changed


@router.get("/tenants/{tenant_id}/spending", summary="Get today's spending")
async def get_spending(
    tenant_id: PathId, query: AskedSpending, database: TheDatabase, settings: TheSettings
) -> Spending:
    """Turns and tokens of this day (UTC), of the tenant or of one session, and the limits."""
    asked = spending.GetSpending(
        **query.model_dump(), tenant_id=tenant_id, policy=budgets(settings)
    )
    return await spending.get_spending(database, asked)


@router.get("/tenants/{tenant_id}/stats", summary="Get the size of a tenant's data")
async def get_tenant_stats(tenant_id: PathId, database: TheDatabase) -> TenantStats:
    """Counts the rows, which takes a while if there are millions; bytes are estimated."""
    asked = retention.GetTenantStats(tenant_id=tenant_id)
    return (await retention.get_tenant_stats(database, asked)).stats


def _say(action: Action, message: str, tenant: Tenant, caller: str, values: TenantValues) -> None:
    log_event(
        _log,
        action,
        message,
        tenant_id=tenant.id,
        instance=tenant.instance_name,
        caller=caller,
        columns=sorted(values.model_fields_set),
    )
