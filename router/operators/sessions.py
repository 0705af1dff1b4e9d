"""Sessions: to find, read, pause and resume them, and to read their messages."""

import logging
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from router.errors import Invalid
from router.logs import Action, log_event
from router.operators.dependencies import (
    Caller,
    Cursor,
    Limit,
    PathId,
    SessionFilter,
    TenantId,
    TheDatabase,
    TheSettings,
    TheWake,
)
from router.operators.models import Message, Page, PausedSession, ResumedSession, Sender, Session
from router.operators.numbers import contact_jids
from router.policy import policy
from router.settings import Settings
from router.state.database import Database, Json

router = APIRouter(tags=["sessions"])
_log = logging.getLogger(__name__)


class Pause(BaseModel, extra="forbid"):
    """How long a pause holds; with neither `until` nor `indefinite`, RESUME_AFTER_HOURS."""

    until: AwareDatetime | None = None
    indefinite: bool | None = None
    reason: str | None = Field(default=None, max_length=500)


PauseQuery = Annotated[Pause, Query()]


@router.get("/sessions", summary="List sessions, newest activity first")
async def list_sessions(
    tenant_id: TenantId,
    database: TheDatabase,
    settings: TheSettings,
    paused: bool | None = None,
    contact: Annotated[
        str | None, Query(max_length=100, description="JID, (part of) the number, or part of the name")
    ] = None,
    active_since: AwareDatetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Session]:
    """Sessions of the tenant; those without a message come last."""
    answer = await database.call(
        "list_sessions",
        {
            "tenant_id": tenant_id,
            "paused": paused,
            "contact": contact,
            "active_since": active_since,
            "policy": policy(settings),
            "limit": limit,
            "cursor": cursor,
        },
    )
    return Page[Session].model_validate(answer)


@router.get("/sessions/{session_id}", summary="Read a session")
async def get_session(
    session_id: PathId, tenant_id: TenantId, database: TheDatabase, settings: TheSettings
) -> Session:
    """The session as it is now."""
    session = await _read_session(database, settings, tenant_id, session_id)
    return Session.model_validate(session)


@router.post("/sessions/{session_id}/pause", summary="Silence the AI for a session")
async def pause_session(  # noqa: PLR0913 - each is one thing that the request may say
    session_id: PathId,
    tenant_id: TenantId,
    query: PauseQuery,
    database: TheDatabase,
    settings: TheSettings,
    caller: Caller,
    body: Pause | None = None,
) -> PausedSession:
    """Ends like a takeover's pause, unless given its own `until` or `indefinite`."""
    argument = {"tenant_id": tenant_id, "session_id": session_id, **_pause(query, body)}
    return await _paused(await _ask(database, settings, "pause_session", argument), caller)
