"""Tenants: listed, read, created, changed.

database/schema/0800_tenants.sql, 0804_tenants_saved.sql and 0806_instances.sql.
"""

from pydantic import Field

from router.configuration.tenant_settings import TenantSettings
from router.state.calls.model import Answer, Asked, Items, Text, Values, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database


class StoredTenant(Answer):
    """What is known about a tenant in addition to its settings."""

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
    """A tenant and its settings."""

    tenant: Tenant


class ListTenants(AskedPage):
    """The requested page of the list."""


class GetTenant(Asked):
    """The requested tenant, by its id or its instance's name."""

    tenant_id: int | None = None
    instance_name: Text | None = None


class ReservedTenant(Answer):
    """The id of a tenant that will be created."""

    tenant_id: int


class CreateTenant(Asked):
    """The new tenant's settings. The state checks them."""

    tenant_id: int | None = None
    values: Values
    ceilings: Values | None = None
    policy: Values | None = None


class ChangeTenant(Asked):
    """The settings to change. None in `values` restores the default."""

    tenant_id: int
    values: Values
    ceilings: Values | None = None
    policy: Values | None = None


class GetQrcode(Asked):
    """The instance whose QR code is wanted."""

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
    """The servers in EVOLUTION_SERVERS."""

    named: tuple[Text, ...]


class OtherServer(Answer):
    """A server that is not among them, the number of its tenants, and the first instances."""

    evo_server_url: str
    own_key: bool
    tenants: int
    instances: Items[str]


class OtherServers(Answer):
    """All such servers."""

    servers: Items[OtherServer]


class TenantPage(Page[Tenant]):
    """A page of tenants."""


async def list_tenants(database: Database, asked: ListTenants) -> TenantPage:
    """Return a page of the tenants that the caller may see. Raises Invalid."""
    return await call(database, "list_tenants", asked, TenantPage)


async def get_tenant(database: Database, asked: GetTenant) -> FoundTenant:
    """Return a tenant. Raises NotFound."""
    return await call(database, "get_tenant", asked, FoundTenant)


async def reserve_tenant(database: Database) -> ReservedTenant:
    """Return an id, so that keys can be sealed for it before the tenant exists."""
    return await call(database, "reserve_tenant", None, ReservedTenant)


async def create_tenant(database: Database, asked: CreateTenant) -> FoundTenant:
    """Create a tenant. Raises Conflict and Invalid."""
    return await call(database, "create_tenant", asked, FoundTenant)


async def change_tenant(database: Database, asked: ChangeTenant) -> FoundTenant:
    """Change a tenant. Raises NotFound, NotAllowed, Conflict and Invalid."""
    return await call(database, "change_tenant", asked, FoundTenant)


async def get_qrcode(database: Database, asked: GetQrcode) -> QrCode:
    """Return the latest QR code. Raises NotFound."""
    return await call(database, "get_qrcode", asked, QrCode)


async def tenants_elsewhere(database: Database, asked: TenantsElsewhere) -> OtherServers:
    """Return tenants' servers to which EVOLUTION_API_KEY may not be sent."""
    return await call(database, "tenants_elsewhere", asked, OtherServers)
