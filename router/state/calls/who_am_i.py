"""Who the caller of the API is: database/schema/0843_who_am_i.sql."""

from typing import Literal

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, call
from router.state.database import Database

Role = Literal["viewer", "operator", "admin"]


class AskWhoIAm(Asked):
    """An empty request: the `Database` that is used knows the caller."""


class RoleInTenant(Answer):
    """The caller's role in one tenant."""

    tenant_id: int
    instance_name: str
    role: Role


class KnownCaller(Answer):
    """The caller and its roles."""

    kind: Literal["deployment", "script", "key", "user"]
    name: str
    role: Role | None = Field(description="In every tenant; null: see `roles`")
    roles: Items[RoleInTenant]


async def who_am_i(database: Database, asked: AskWhoIAm) -> KnownCaller:
    """Return the caller for whom this database acts. Raises UnknownCaller."""
    return await call(database, "who_am_i", asked, KnownCaller)
