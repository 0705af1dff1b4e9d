"""How long data is kept, and how much there is.

database/schema/0890_retention.sql, 0891_prune.sql and 0892_amounts.sql.
"""

from pydantic import Field

from router.state.calls.model import Answer, Asked, call
from router.state.calls.shown import Time
from router.state.database import Database


class Prune(Asked):
    """How many rows at once, and how long data is kept; `retention_days` None: for ever."""

    batch: int | None = None
    events_days: int | None = None
    retention_days: int | None = None


class Pruned(Answer):
    """The result of one run of prune: how many rows of each kind."""

    events: int
    messages_deleted: int
    messages_archived: int
    turns: int
    notices: int
    relays: int
    handoffs: int
    spending: int
    erased_messages: int
    changes: int
    more: bool = Field(description="The time was up before everything was done: call again")


class GetTenantStats(Asked):
    """The tenant."""

    tenant_id: int


class Amount(Answer):
    """How much of one table belongs to a tenant."""

    rows: int
    bytes: int = Field(description="Estimated, without indexes")


class TenantStats(Answer):
    """How much data a tenant has."""

    tables: dict[str, Amount]
    bytes: int
    oldest_message_at: Time | None
    pruned_before: Time | None = Field(
        description="Messages sent before this are archived or deleted"
    )


class FoundStats(Answer):
    """The amounts of one tenant."""

    stats: TenantStats


async def prune(database: Database, asked: Prune) -> Pruned:
    """Archive or delete a batch of expired data. Raises Invalid."""
    return await call(database, "prune", asked, Pruned)


async def get_tenant_stats(database: Database, asked: GetTenantStats) -> FoundStats:
    """Return how much data is stored for a tenant. Raises NotFound."""
    return await call(database, "get_tenant_stats", asked, FoundStats)
