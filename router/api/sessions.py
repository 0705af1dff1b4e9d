"""Sessions and their messages, to be read."""

from fastapi import APIRouter

from router.api.dependencies import PathId, TenantId, TheDatabase, TheLists, TheSettings
from router.api.models import Message, Page, Session
from router.api.queries import AskedMessages, AskedSessions
from router.tenants.policy import policy

router = APIRouter(tags=["sessions"])


@router.get("/sessions", summary="List a tenant's sessions, newest activity first")
async def list_sessions(
    query: AskedSessions, database: TheLists, settings: TheSettings
) -> Page[Session]:
    """Sessions that have no message yet come last."""
    argument = {**query.argument(), "policy": policy(settings)}
    return Page[Session].model_validate(await database.call("list_sessions", argument))


@router.get("/sessions/{session_id}", summary="Read a session")
async def get_session(
    session_id: PathId, tenant_id: TenantId, database: TheDatabase, settings: TheSettings
) -> Session:
    """Say among the rest whether it is paused, by whom, and until when."""
    argument = {"tenant_id": tenant_id, "session_id": session_id, "policy": policy(settings)}
    answer = await database.call("get_session", argument)
    return Session.model_validate(answer["session"])


@router.get("/sessions/{session_id}/messages", summary="List a session's messages, newest first")
async def list_session_messages(
    session_id: PathId, query: AskedMessages, database: TheLists
) -> Page[Message]:
    """In the order of the conversation: by `sent_at`, WhatsApp's own time."""
    argument = {**query.argument(), "session_id": session_id}
    return Page[Message].model_validate(await database.call("list_messages", argument))


@router.get("/messages", summary="List a tenant's messages, newest first")
async def list_messages(query: AskedMessages, database: TheLists) -> Page[Message]:
    """In the order of recording (`created_at`), so that late ones are new here too.

    A page of long messages ends before its `limit`, after 500,000 characters.
    """
    return Page[Message].model_validate(await database.call("list_messages", query.argument()))
