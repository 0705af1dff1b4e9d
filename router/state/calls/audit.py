"""The audit log: database/schema/0833_audit.sql."""

from typing import Any, Literal

from pydantic import Field

from router.state.calls.model import Answer, Moment, Text, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database

CallerKind = Literal["deployment", "script", "key", "user", "owner", "contact", "ai", "cron"]


class AuditLine(Answer):
    """Who did what, and when."""

    id: int
    at: Time
    tenant_id: int | None
    caller_kind: CallerKind
    caller: str = Field(description="The key's name, the user's id, or the person who wrote")
    api_key_id: int | None = Field(
        description="The API key that was used, if it was one of the database's"
    )
    action: str = Field(description="What was done, such as pause_session or change_tenant")
    session_id: int | None
    turn_id: int | None
    detail: dict[str, Any] = Field(description="What was asked for or changed; never a secret")


class ListAudit(AskedPage):
    """The requested lines; without a tenant, the lines of all tenants."""

    tenant_id: int | None = None
    session_id: int | None = None
    action: Text | None = None
    caller_name: Text | None = None
    since: Moment | None = None


class AuditLinePage(Page[AuditLine]):
    """A page of lines of the audit log."""


async def list_audit(database: Database, asked: ListAudit) -> AuditLinePage:
    """Return a page of lines, the newest first. Raises NotAllowed, NotFound and Invalid."""
    return await call(database, "list_audit", asked, AuditLinePage)
