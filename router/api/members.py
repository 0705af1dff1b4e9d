"""Members of a tenant: users of Supabase Auth who have a role there."""

import logging
from uuid import UUID

from pydantic import BaseModel

from router.api.dependencies import Caller, PathId, TheDatabase
from router.api.keyed import keyed
from router.logs.events import Action, log_event
from router.state.calls import members
from router.state.calls.api_keys import Role
from router.state.calls.members import Member, Members, RemovedMember

router = keyed("access", prefix="/tenants/{tenant_id}/members")
_log = logging.getLogger(__name__)


class MemberRequest(BaseModel, extra="forbid"):
    """The role of a user."""

    role: Role


@router.get("", summary="List a tenant's members")
async def list_members(tenant_id: PathId, database: TheDatabase) -> Members:
    """Users of Supabase Auth, each with a role."""
    return await members.list_members(database, members.ListMembers(tenant_id=tenant_id))


@router.put("/{user_id}", summary="Set a member's role")
async def set_member(
    tenant_id: PathId, user_id: UUID, wanted: MemberRequest, database: TheDatabase, caller: Caller
) -> Member:
    """Replaces the role that the user had in the tenant, if any. It is valid at once."""
    asked = members.SetMember(tenant_id=tenant_id, user_id=str(user_id), role=wanted.role)
    kept = (await members.set_member(database, asked)).member
    log_event(
        _log, Action.MEMBER_SET, "member set",
        tenant_id=tenant_id, user_id=str(user_id), role=wanted.role, caller=caller,
    )  # fmt: skip
    return kept


@router.delete("/{user_id}", summary="Remove a member")
async def remove_member(
    tenant_id: PathId, user_id: UUID, database: TheDatabase, caller: Caller
) -> RemovedMember:
    """The user's tokens stop working for this tenant at once."""
    asked = members.RemoveMember(tenant_id=tenant_id, user_id=str(user_id))
    removed = await members.remove_member(database, asked)
    log_event(
        _log, Action.MEMBER_REMOVED, "member removed",
        tenant_id=tenant_id, user_id=str(user_id), caller=caller,
    )  # fmt: skip
    return removed
