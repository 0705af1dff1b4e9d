"""What people attach to a conversation: labels, an owner, notes.

database/schema/0720_kept_by_people.sql.
"""

from pydantic import Field

from router.state.calls.model import Answer, Asked, Text, call
from router.state.calls.reading import FoundSession, GetSession, Session
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database


class Note(Answer):
    """A note of the business's people about a conversation."""

    id: int
    tenant_id: int
    session_id: int
    body: str
    author: str = Field(description="Who called: a key's name, or a user's id")
    created_at: Time


class SetLabels(GetSession):
    """Which labels it gets, and which it loses."""

    add: tuple[Text, ...] | None = None
    remove: tuple[Text, ...] | None = None


class LabelledSession(Answer):
    """The session as it is now, and what was cancelled."""

    session: Session
    cancelled_turns: int = Field(description="Replies that were being made and will not be sent")


class SetOwner(GetSession):
    """Who looks after it; None: nobody in particular."""

    owner: Text | None = None


class AddNote(Asked):
    """The note and its session; its author is the caller if known, else `author`."""

    tenant_id: int
    session_id: int
    body: Text
    author: Text | None = None


class KeptNote(Answer):
    """The note, as it is kept."""

    note: Note


class NotePage(Page[Note]):
    """A page of notes."""


class ListNotes(AskedPage):
    """Of which session."""

    tenant_id: int
    session_id: int


class RemoveNote(Asked):
    """Which note."""

    tenant_id: int
    session_id: int
    note_id: int


class RemovedNote(Answer):
    """The result of a removal."""

    removed: bool


async def set_labels(database: Database, asked: SetLabels) -> LabelledSession:
    """Give a session labels, and take others away. Raises NotFound and Invalid."""
    return await call(database, "set_labels", asked, LabelledSession)


async def set_owner(database: Database, asked: SetOwner) -> FoundSession:
    """Say who looks after a session. Raises NotFound and Invalid."""
    return await call(database, "set_owner", asked, FoundSession)


async def add_note(database: Database, asked: AddNote) -> KeptNote:
    """Add a note to a session. Raises NotFound and Invalid."""
    return await call(database, "add_note", asked, KeptNote)


async def list_notes(database: Database, asked: ListNotes) -> NotePage:
    """Return some notes of a session, the newest first. Raises NotFound and Invalid."""
    return await call(database, "list_notes", asked, NotePage)


async def remove_note(database: Database, asked: RemoveNote) -> RemovedNote:
    """Remove a note. Raises NotFound."""
    return await call(database, "remove_note", asked, RemovedNote)
