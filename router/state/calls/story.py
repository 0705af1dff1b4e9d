"""The story of a turn or a message: database/schema/0897_story.sql."""

from typing import Any

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.database import Database


class TellTurn(Asked):
    """One of the tenant's turns, or a message by its WhatsApp id; never both."""

    tenant_id: int
    turn_id: int | None = None
    wa_id: Text | None = None


class ToldTurn(Answer):
    """The story as JSON. Each happening has `at`, `kind`, and the facts of its kind."""

    now: str
    is_known: bool
    was_erased: bool
    turn: dict[str, Any] | None
    message: dict[str, Any] | None
    session: dict[str, Any] | None
    tenant: dict[str, Any]
    happenings: Items[dict[str, Any]]


class FindTurn(Asked):
    """The turn or message whose tenants are wanted; or only the tenant with this instance."""

    turn_id: int | None = None
    wa_id: Text | None = None
    instance_name: Text | None = None


class TenantFound(Answer):
    """A tenant that knows the turn or message."""

    tenant_id: int
    instance_name: str


class TenantsFound(Answer):
    """All such tenants."""

    found: Items[TenantFound]


async def tell_turn(database: Database, asked: TellTurn) -> ToldTurn:
    """Return the story. Raises NotFound and Invalid."""
    return await call(database, "tell_turn", asked, ToldTurn)


async def find_turn(database: Database, asked: FindTurn) -> TenantsFound:
    """Return the tenants that know the turn or message; for callers who may see all tenants."""
    return await call(database, "find_turn", asked, TenantsFound)
