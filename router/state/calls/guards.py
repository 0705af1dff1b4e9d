"""How the tenants' webhooks are guarded: database/schema/0893_guards.sql."""

from router.state.calls.model import Answer, Asked, Items, Moment, call
from router.state.database import Database


class WebhookGuards(Asked):
    """The access of tenants after one, so many; or what changed since, and some others."""

    after: int | None = None
    limit: int | None = None
    changed_since: Moment | None = None


class WebhookGuard(Answer):
    """How one tenant's webhooks are guarded; `retiring` are hashes, and in how many seconds."""

    tenant_id: int
    instance_name: str
    networks: Items[str] | None
    shared: bool
    hashes: Items[str]
    retiring: dict[str, float]


class GuardsTold(Answer):
    """Some tenants' access, and where the next page begins; None: there are no more."""

    guards: Items[WebhookGuard]
    next: int | None
    now: Moment


async def webhook_guards(database: Database, asked: WebhookGuards) -> GuardsTold:
    """Return how the webhooks of tenants are guarded that have something of their own."""
    return await call(database, "webhook_guards", asked, GuardsTold)
