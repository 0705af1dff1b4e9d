"""Endpoints to read sessions and their messages."""

from router.api.dependencies import PathId, TenantId, TheDatabase, TheLists, TheSettings
from router.api.keyed import keyed
from router.api.queries import AskedMessages, AskedSessions
from router.state.calls import reading
from router.state.calls.reading import MessagePage, Session, SessionPage
from router.tenants.policy import policy

router = keyed("sessions")


@router.get("/sessions", summary="List a tenant's sessions, newest activity first")
async def list_sessions(
    query: AskedSessions, database: TheLists, settings: TheSettings
) -> SessionPage:
    """Sessions that have no message yet come last."""
    asked = reading.ListSessions(**query.model_dump(), policy=policy(settings))
    return await reading.list_sessions(database, asked)


@router.get("/sessions/{session_id}", summary="Get a session")
async def get_session(
    session_id: PathId, tenant_id: TenantId, database: TheDatabase, settings: TheSettings
) -> Session:
    """Shows whether it is paused, by whom, and until when."""
    asked = reading.GetSession(tenant_id=tenant_id, session_id=session_id, policy=policy(settings))
    return (await reading.get_session(database, asked)).session


@router.get("/sessions/{session_id}/messages", summary="List a session's messages, newest first")
async def list_session_messages(
    session_id: PathId, query: AskedMessages, database: TheLists
) -> MessagePage:
    """In the order of the conversation: by `sent_at`, WhatsApp's own time."""
    asked = reading.ListMessages(**query.model_dump(), session_id=session_id)
    return await reading.list_messages(database, asked)


@router.get("/messages", summary="List a tenant's messages, newest first")
async def list_messages(query: AskedMessages, database: TheLists) -> MessagePage:
    """In the order of recording (`created_at`), so a late message is new here, too.

    A page of long messages ends before its `limit`, after 500,000 characters.
    """
    return await reading.list_messages(database, reading.ListMessages(**query.model_dump()))
