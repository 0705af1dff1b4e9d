"""Pausing and resuming sessions and contacts, and pauses that have ended.

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
    """Which session is to be paused, and until when."""

    session_id: int


class PauseContact(_Pause):
    """Which contact is to be paused, by the spellings of one number."""

    jids: tuple[Text, ...]


class _Resume(Asked):
    """Who lets the AI answer again, and what holds if the tenant has no setting of its own."""

    tenant_id: int
    source: PauseSource
    policy: Values


class ResumeSession(_Resume):
    """Which session is to be resumed."""

    session_id: int


class ResumeContact(_Resume):
    """Which contact is to be resumed, by the spellings of one number."""

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
    """By which rules."""

    policy: Values


class OverPauses(Answer):
    """Sessions whose pause has probably expired, and whether there are others."""

    session_ids: Items[int]
    more: bool


class AutoResume(Asked):
    """Which pauses are to end, if they have run out; without ids, whichever."""

    policy: Values
    session_ids: tuple[int, ...] | None = None


class Gone(Answer):
    """A session in which the AI goes on."""

    session_id: int
    tenant_id: int


class EndedPauses(Answer):
    """What one call has ended, the turns made for it, and the sessions that stay paused."""

    resumed: int
    sessions: Items[Gone]
    turns: int
    failed: Items[int]
    more: bool


async def pause_session(database: Database, asked: PauseSession) -> PausedSession:
    """Pause a session. Raises NotFound and Invalid."""
    return await call(database, "pause_session", asked, PausedSession)


async def pause_contact(database: Database, asked: PauseContact) -> PausedSession:
    """Pause a contact's session, which is made if there is none. Raises NotFound and Invalid."""
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
