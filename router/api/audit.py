"""The audit log: who did what. It is written by SQL, in the transaction of what was done."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from router.api.dependencies import TheLists
from router.api.models import Page
from router.api.moments import Moment
from router.api.queries import LARGEST_ID, ListQuery

router = APIRouter(tags=["access"])
CallerKind = Literal["deployment", "script", "key", "user", "owner", "contact", "ai", "cron"]


class AuditLine(BaseModel):
    """One thing that was done."""

    id: int
    at: datetime
    tenant_id: int | None
    caller_kind: CallerKind
    caller: str = Field(description="The key's name, the user's id, or who wrote")
    api_key_id: int | None = Field(description="Which key, where one of the state's called")
    action: str = Field(description="What was done, such as pause_session or change_tenant")
    session_id: int | None
    turn_id: int | None
    detail: dict[str, Any] = Field(description="What was asked for or changed; never a secret")


class AuditQuery(ListQuery):
    """Which lines."""

    tenant_id: int | None = Field(
        default=None, ge=1, le=LARGEST_ID, description="Without it, of all: for admins of all"
    )
    session_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    action: str | None = Field(default=None, max_length=100)
    caller_name: str | None = Field(default=None, max_length=200)
    since: Moment | None = None


@router.get("/audit", summary="List who did what, newest first")
async def list_audit(query: Annotated[AuditQuery, Query()], database: TheLists) -> Page[AuditLine]:
    """Pauses by the owner, the AI and the scheduler are in it, too."""
    return Page[AuditLine].model_validate(await database.call("list_audit", query.argument()))
