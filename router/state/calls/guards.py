"""What the tenants' webhooks must prove: database/schema/0893_guards.sql."""

from router.state.calls.model import Answer, Asked, Items, Moment, call
from router.state.database import Database


class WebhookGuards(Asked):
    """The page of tenants to read; with `changed_since`, changed tenants and some others."""

    after: int | None = None
    limit: int | None = None
    changed_since: Moment | None = None


class WebhookGuard(Answer):
    """What one tenant's webhooks must prove; `retiring`: hashes with the seconds they have left."""

    tenant_id: int
    instance_name: str
    networks: Items[str] | None
    shared: bool
    hashes: Items[str]
    retiring: dict[str, float]


class GuardsTold(Answer):
    """A page of tenants' access, and where the next page begins; None: this was the last."""

    guards: Items[WebhookGuard]
    next: int | None
    now: Moment


async def webhook_guards(database: Database, asked: WebhookGuards) -> GuardsTold:
    """Return the access of tenants with settings of their own."""
    return await call(database, "webhook_guards", asked, GuardsTold)
