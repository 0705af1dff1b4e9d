"""The audit log: who did what. SQL writes it, in the same transaction as the action."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from router.api.dependencies import TheLists
from router.api.keyed import keyed
from router.api.moments import Moment
from router.api.queries import LARGEST_ID, ListQuery
from router.state.calls import audit
from router.state.calls.audit import AuditLinePage

router = keyed("access")


class AuditQuery(ListQuery):
    """Which lines."""

    tenant_id: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_ID,
        description="Left out: all tenants, for admins of all tenants",
    )
    session_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    action: str | None = Field(default=None, max_length=100)
    caller_name: str | None = Field(default=None, max_length=200)
    since: Moment | None = None


@router.get("/audit", summary="List audit lines, newest first")
async def list_audit_lines(
    query: Annotated[AuditQuery, Query()], database: TheLists
) -> AuditLinePage:
    """Who did what. Pauses by the owner, the AI and the scheduler are included."""
    return await audit.list_audit(database, audit.ListAudit(**query.model_dump()))
