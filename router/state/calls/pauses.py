"""Pausing and resuming sessions and contacts, and ending expired pauses.

database/schema/0307_pausing.sql, 0308_pauses_over.sql, and of contacts 0808_contacts_paused.sql.
"""

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, Moment, Text, Values, call
from router.state.calls.reading import PauseSource, Session
from router.state.database import Database


class _Pause(Asked):
    """How long, why and by whom."""

    tenant_id: int
    source: PauseSource
    reason: Text | None = None
    until: Moment | None = None
    indefinite: bool | None = None
    policy: Values | None = None


class PauseSession(_Pause):
    """The session to pause, and until when."""

    session_id: int


class PauseContact(_Pause):
    """The contact to pause, by all spellings of one number."""

    jids: tuple[Text, ...]


class _Resume(Asked):
    """Who resumes, and the deployment's defaults for the tenant's settings."""

    tenant_id: int
    source: PauseSource
    policy: Values


class ResumeSession(_Resume):
    """The session to resume."""

    session_id: int


class ResumeContact(_Resume):
    """The contact to resume, by all spellings of one number."""

    jids: tuple[Text, ...]


class PausedSession(Answer):
    """The result of a pause."""

    session: Session
    cancelled_turns: int = Field(description="Replies that were being made and will not be sent")


class ResumedSession(Answer):
    """The result of a resume."""

    session: Session
    resumed: bool = Field(description="false: it was not paused")
    turn_id: int | None = Field(
        description="The turn that answers what came during the pause; null: nothing to answer"
    )


class PausesOver(Asked):
    """The deployment's defaults for the rules."""

    policy: Values


class OverPauses(Answer):
    """Sessions whose pause has probably expired, and whether there are more."""

    session_ids: Items[int]
    more: bool


class AutoResume(Asked):
    """The sessions whose expired pauses to end; without ids, any sessions."""

    policy: Values
    session_ids: tuple[int, ...] | None = None


class Gone(Answer):
    """A session whose pause was ended: the AI answers there again."""

    session_id: int
    tenant_id: int


class EndedPauses(Answer):
    """The pauses that one call ended, the new turns, and the sessions that stay paused."""

    resumed: int
    sessions: Items[Gone]
    turns: int
    failed: Items[int]
    more: bool


async def pause_session(database: Database, asked: PauseSession) -> PausedSession:
    """Pause a session. Raises NotFound and Invalid."""
    return await call(database, "pause_session", asked, PausedSession)


async def pause_contact(database: Database, asked: PauseContact) -> PausedSession:
    """Pause a contact's session; it is created if there is none. Raises NotFound and Invalid."""
    return await call(database, "pause_contact", asked, PausedSession)


async def resume_session(database: Database, asked: ResumeSession) -> ResumedSession:
    """End a session's pause, if it has one. Raises NotFound."""
    return await call(database, "resume_session", asked, ResumedSession)


async def resume_contact(database: Database, asked: ResumeContact) -> ResumedSession:
    """End the pause of a contact's session. Raises NotFound."""
    return await call(database, "resume_contact", asked, ResumedSession)


async def pauses_over(database: Database, asked: PausesOver) -> OverPauses:
    """Return the sessions whose pause has probably expired."""
    return await call(database, "pauses_over", asked, OverPauses)


async def auto_resume(database: Database, asked: AutoResume) -> EndedPauses:
    """End pauses that have expired."""
    return await call(database, "auto_resume", asked, EndedPauses)
