"""Members of a tenant: users of Supabase Auth who may see and do something there."""

import logging
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from router.api.api_keys import Role
from router.api.dependencies import Caller, PathId, TheDatabase
from router.logs.events import Action, log_event

router = APIRouter(prefix="/tenants/{tenant_id}/members", tags=["access"])
_log = logging.getLogger(__name__)


class Member(BaseModel):
    """What a user is in a tenant."""

    tenant_id: int
    user_id: UUID
    role: Role
    created_by: str | None
    created_at: datetime


class Members(BaseModel):
    """A tenant's members, the oldest first."""

    items: list[Member]


class Membership(BaseModel, extra="forbid"):
    """What a user is to be."""

    role: Role


class Removed(BaseModel):
    """What a removal has done."""

    removed: bool


@router.get("", summary="List a tenant's members")
async def list_members(tenant_id: PathId, database: TheDatabase) -> Members:
    """Users of Supabase Auth; what they may do is their role's."""
    return Members.model_validate(await database.call("list_members", {"tenant_id": tenant_id}))


@router.put("/{user_id}", summary="Give a user a role in a tenant")
async def set_member(
    tenant_id: PathId, user_id: UUID, wanted: Membership, database: TheDatabase, caller: Caller
) -> Member:
    """In the place of the role that the user had there, if any; it holds at once."""
    argument = {"tenant_id": tenant_id, "user_id": str(user_id), "role": wanted.role}
    answer = await database.call("set_member", argument)
    log_event(
        _log, Action.MEMBER_SET, "member set",
        tenant_id=tenant_id, user_id=str(user_id), role=wanted.role, caller=caller,
    )  # fmt: skip
    return Member.model_validate(answer["member"])


@router.delete("/{user_id}", summary="Take a user's role in a tenant")
async def remove_member(
    tenant_id: PathId, user_id: UUID, database: TheDatabase, caller: Caller
) -> Removed:
    """It holds at once, whatever tokens the user has."""
    argument = {"tenant_id": tenant_id, "user_id": str(user_id)}
    answer = await database.call("remove_member", argument)
    log_event(
        _log, Action.MEMBER_REMOVED, "member removed",
        tenant_id=tenant_id, user_id=str(user_id), caller=caller,
    )  # fmt: skip
    return Removed.model_validate(answer)
