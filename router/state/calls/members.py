"""Members of a tenant: database/schema/0841_members.sql."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from router.state.calls.api_keys import Role
from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.calls.shown import Time
from router.state.database import Database


class Member(Answer):
    """A user's role in a tenant."""

    tenant_id: int
    user_id: Annotated[UUID, Field(strict=False)]
    role: Role
    created_by: str | None
    created_at: Time


class Members(Answer):
    """A tenant's members, the oldest first."""

    items: Items[Member]


class ListMembers(Asked):
    """The tenant."""

    tenant_id: int


class SetMember(Asked):
    """The user and the new role. The state checks the user's id."""

    tenant_id: int
    user_id: Text
    role: Role


class KeptMember(Answer):
    """The member after the change."""

    member: Member


class RemoveMember(Asked):
    """The user who loses their role."""

    tenant_id: int
    user_id: Text


class RemovedMember(Answer):
    """The result of a removal."""

    removed: bool


async def list_members(database: Database, asked: ListMembers) -> Members:
    """Return a tenant's members. Raises NotFound."""
    return await call(database, "list_members", asked, Members)


async def set_member(database: Database, asked: SetMember) -> KeptMember:
    """Give a user a role. Raises NotFound, Conflict and Invalid."""
    return await call(database, "set_member", asked, KeptMember)


async def remove_member(database: Database, asked: RemoveMember) -> RemovedMember:
    """Remove a user's role. Raises NotFound and Invalid."""
    return await call(database, "remove_member", asked, RemovedMember)
