"""Tenants' own webhook secrets, stored as hashes: database/schema/0820_secrets.sql."""

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, call
from router.state.calls.shown import Time
from router.state.database import Database


class WebhookSecret(Answer):
    """A tenant's webhook secret, without the secret itself."""

    id: int
    tenant_id: int
    ends_with: str = Field(description="Its last characters, to recognise it")
    created_by: str | None
    created_at: Time
    retires_at: Time | None = Field(description="When it stops being accepted; null: never")
    is_active: bool


class WebhookSecrets(Answer):
    """A tenant's secrets, the newest first."""

    items: Items[WebhookSecret]


class ListWebhookSecrets(Asked):
    """The tenant."""

    tenant_id: int


class AddWebhookSecret(Asked):
    """The new secret's hash, and how long the others stay valid (None: until they are retired)."""

    tenant_id: int
    secret_hash: str
    ends_with: str
    created_by: str | None = None
    retire_others_after_hours: float | None = None


class RetireWebhookSecret(Asked):
    """The secret to retire, and in how many hours (None: at once)."""

    tenant_id: int
    webhook_secret_id: int
    after_hours: float | None = None


class KeptSecret(Answer):
    """A secret that was added or retired."""

    webhook_secret: WebhookSecret


async def list_webhook_secrets(database: Database, asked: ListWebhookSecrets) -> WebhookSecrets:
    """Return a tenant's secrets. Raises NotFound."""
    return await call(database, "list_webhook_secrets", asked, WebhookSecrets)


async def add_webhook_secret(database: Database, asked: AddWebhookSecret) -> KeptSecret:
    """Accept one more secret. Raises NotFound, Conflict and Invalid."""
    return await call(database, "add_webhook_secret", asked, KeptSecret)


async def retire_webhook_secret(database: Database, asked: RetireWebhookSecret) -> KeptSecret:
    """Refuse a secret from then on. Raises NotFound, and Conflict if it is the last one."""
    return await call(database, "retire_webhook_secret", asked, KeptSecret)
