"""A turn's life, or what became of a message: database/schema/0897_story.sql."""

from typing import Any

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.database import Database


class TellTurn(Asked):
    """Of one of the tenant's turns, or of a message by WhatsApp's id of it: one of the two."""

    tenant_id: int
    turn_id: int | None = None
    wa_id: Text | None = None


class ToldTurn(Answer):
    """What is known, as JSON: each happening has `at`, `kind` and the facts of its kind."""

    now: str
    is_known: bool
    was_erased: bool
    turn: dict[str, Any] | None
    message: dict[str, Any] | None
    session: dict[str, Any] | None
    tenant: dict[str, Any]
    happenings: Items[dict[str, Any]]


class FindTurn(Asked):
    """Which tenant has such a turn, or knows such a message; or the one with this instance."""

    turn_id: int | None = None
    wa_id: Text | None = None
    instance_name: Text | None = None


class TenantFound(Answer):
    """A tenant that may tell."""

    tenant_id: int
    instance_name: str


class TenantsFound(Answer):
    """All that may."""

    found: Items[TenantFound]


async def tell_turn(database: Database, asked: TellTurn) -> ToldTurn:
    """Return what is known. Raises NotFound and Invalid."""
    return await call(database, "tell_turn", asked, ToldTurn)


async def find_turn(database: Database, asked: FindTurn) -> TenantsFound:
    """Return the tenants that know it; for callers who may see every tenant."""
    return await call(database, "find_turn", asked, TenantsFound)
