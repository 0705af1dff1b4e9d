"""Members of a tenant: users of Supabase Auth who may see and do something there."""

import logging
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from router.api.dependencies import Caller, PathId, TheDatabase
from router.logs.events import Action, log_event
from router.state.calls import members
from router.state.calls.api_keys import Role
from router.state.calls.members import Member, Members, Removed

router = APIRouter(prefix="/tenants/{tenant_id}/members", tags=["access"])
_log = logging.getLogger(__name__)


class Membership(BaseModel, extra="forbid"):
    """What a user is to be."""

    role: Role


@router.get("", summary="List a tenant's members")
async def list_members(tenant_id: PathId, database: TheDatabase) -> Members:
    """Users of Supabase Auth; what they may do is their role's."""
    return await members.list_members(database, members.ListMembers(tenant_id=tenant_id))


@router.put("/{user_id}", summary="Give a user a role in a tenant")
async def set_member(
    tenant_id: PathId, user_id: UUID, wanted: Membership, database: TheDatabase, caller: Caller
) -> Member:
    """In the place of the role that the user had there, if any; it holds at once."""
    asked = members.SetMember(tenant_id=tenant_id, user_id=str(user_id), role=wanted.role)
    kept = (await members.set_member(database, asked)).member
    log_event(
        _log, Action.MEMBER_SET, "member set",
        tenant_id=tenant_id, user_id=str(user_id), role=wanted.role, caller=caller,
    )  # fmt: skip
    return kept


@router.delete("/{user_id}", summary="Take a user's role in a tenant")
async def remove_member(
    tenant_id: PathId, user_id: UUID, database: TheDatabase, caller: Caller
) -> Removed:
    """It holds at once, whatever tokens the user has."""
    asked = members.RemoveMember(tenant_id=tenant_id, user_id=str(user_id))
    removed = await members.remove_member(database, asked)
    log_event(
        _log, Action.MEMBER_REMOVED, "member removed",
        tenant_id=tenant_id, user_id=str(user_id), caller=caller,
    )  # fmt: skip
    return removed
