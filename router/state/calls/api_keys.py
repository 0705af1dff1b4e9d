"""Keys of the API: database/schema/0840_api_keys.sql."""

from typing import Literal

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, Moment, Text, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database

Role = Literal["viewer", "operator", "admin"]


class ApiKey(Answer):
    """An API key, without the key itself."""

    id: int
    name: str
    starts_with: str = Field(description="Its first characters, to recognise it")
    role: Role
    every_tenant: bool
    tenant_ids: Items[int] | None = Field(description="null: every tenant")
    created_by: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None = Field(description="To the minute")
    is_active: bool


class KeptKey(Answer):
    """A key that was created or revoked."""

    api_key: ApiKey


class ListApiKeys(AskedPage):
    """The requested page of the list."""


class CreateApiKey(Asked):
    """The key to create. `tenant_ids` None: for every tenant; the null is sent, not left out."""

    name: Text
    key_hash: str
    starts_with: str
    role: Role
    tenant_ids: tuple[int, ...] | None
    expires_at: Moment | None = None


class RevokeApiKey(Asked):
    """The key to revoke."""

    api_key_id: int


class ApiKeyPage(Page[ApiKey]):
    """A page of API keys."""


async def list_api_keys(database: Database, asked: ListApiKeys) -> ApiKeyPage:
    """Return a page of the keys that the caller may manage, the newest first. Raises Invalid."""
    return await call(database, "list_api_keys", asked, ApiKeyPage)


async def create_api_key(database: Database, asked: CreateApiKey) -> KeptKey:
    """Create a key. Raises NotAllowed, NotFound and Invalid."""
    return await call(database, "create_api_key", asked, KeptKey)


async def revoke_api_key(database: Database, asked: RevokeApiKey) -> KeptKey:
    """Revoke a key: it is refused from now on. Raises NotFound."""
    return await call(database, "revoke_api_key", asked, KeptKey)
