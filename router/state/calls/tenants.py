"""Tenants: listed, read, created, changed.

database/schema/0800_tenants.sql, 0804_tenants_saved.sql and 0806_instances.sql.
"""

from pydantic import Field

from router.configuration.tenant_settings import TenantSettings
from router.state.calls.model import Answer, Asked, Items, Text, Values, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database


class StoredTenant(Answer):
    """What is known of a tenant beside its settings."""

    id: int
    is_demo: bool
    pruned_before: Time | None
    connection_state: str | None
    connection_reason: int | None
    connection_changed_at: Time | None
    connection_lost_at: Time | None
    owner_jid: str | None
    caught_up_at: Time | None
    created_at: Time
    updated_at: Time


class Tenant(TenantSettings, StoredTenant):
    """One business: one Evolution instance, its prompt, provider and settings."""


class FoundTenant(Answer):
    """A tenant, as it is now."""

    tenant: Tenant


class ListTenants(AskedPage):
    """Which part of the list."""


class GetTenant(Asked):
    """Which one: by its id or its instance."""

    tenant_id: int | None = None
    instance_name: Text | None = None


class ReservedTenant(Answer):
    """The id of a tenant that is yet to be created."""

    tenant_id: int


class CreateTenant(Asked):
    """What the tenant is to have; the state says what can be set, and how."""

    tenant_id: int | None = None
    values: Values
    ceilings: Values | None = None
    policy: Values | None = None


class ChangeTenant(Asked):
    """What is to change: None in `values` brings the default back."""

    tenant_id: int
    values: Values
    ceilings: Values | None = None
    policy: Values | None = None


class GetQrcode(Asked):
    """Of which instance."""

    instance_name: Text


class QrCode(Answer):
    """The QR code that Evolution last sent."""

    instance_name: str
    code: str | None = Field(description="The text to be drawn as a QR code")
    pairing_code: str | None
    updated_at: Time
    age_seconds: int = Field(description="WhatsApp takes a code for less than a minute")
    connection_state: str | None


class TenantsElsewhere(Asked):
    """The servers that the deployment names."""

    named: tuple[Text, ...]


class OtherServer(Answer):
    """A server that is not named, how many tenants it has, and their first instances."""

    evo_server_url: str
    own_key: bool
    tenants: int
    instances: Items[str]


class OtherServers(Answer):
    """Those that there are."""

    servers: Items[OtherServer]


class TenantPage(Page[Tenant]):
    """A page of tenants."""


async def list_tenants(database: Database, asked: ListTenants) -> TenantPage:
    """Return some of the tenants that the caller may see. Raises Invalid."""
    return await call(database, "list_tenants", asked, TenantPage)


async def get_tenant(database: Database, asked: GetTenant) -> FoundTenant:
    """Return a tenant. Raises NotFound."""
    return await call(database, "get_tenant", asked, FoundTenant)


async def reserve_tenant(database: Database) -> ReservedTenant:
    """Return an id for which keys can be sealed before the tenant is there."""
    return await call(database, "reserve_tenant", None, ReservedTenant)


async def create_tenant(database: Database, asked: CreateTenant) -> FoundTenant:
    """Create a tenant. Raises Conflict and Invalid."""
    return await call(database, "create_tenant", asked, FoundTenant)


async def change_tenant(database: Database, asked: ChangeTenant) -> FoundTenant:
    """Change a tenant. Raises NotFound, NotAllowed, Conflict and Invalid."""
    return await call(database, "change_tenant", asked, FoundTenant)


async def get_qrcode(database: Database, asked: GetQrcode) -> QrCode:
    """Return the QR code that came last. Raises NotFound."""
    return await call(database, "get_qrcode", asked, QrCode)


async def tenants_elsewhere(database: Database, asked: TenantsElsewhere) -> OtherServers:
    """Return the servers of tenants that EVOLUTION_API_KEY may not serve."""
    return await call(database, "tenants_elsewhere", asked, OtherServers)
