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
    """The labels that a session gets, and those that it loses."""

    add: tuple[Text, ...] | None = None
    remove: tuple[Text, ...] | None = None


class LabelledSession(Answer):
    """The session after the change, and what was cancelled."""

    session: Session
    cancelled_turns: int = Field(description="Replies that were being made and will not be sent")


class SetOwner(GetSession):
    """The person who looks after a session; None: nobody in particular."""

    owner: Text | None = None


class AddNote(Asked):
    """The note and its session. Its author is the caller, if known, else `author`."""

    tenant_id: int
    session_id: int
    body: Text
    author: Text | None = None


class KeptNote(Answer):
    """The stored note."""

    note: Note


class NotePage(Page[Note]):
    """A page of notes."""


class ListNotes(AskedPage):
    """The session whose notes are listed."""

    tenant_id: int
    session_id: int


class RemoveNote(Asked):
    """The note to remove."""

    tenant_id: int
    session_id: int
    note_id: int


class RemovedNote(Answer):
    """The result of a removal."""

    removed: bool


async def set_labels(database: Database, asked: SetLabels) -> LabelledSession:
    """Add labels to a session, and remove others. Raises NotFound and Invalid."""
    return await call(database, "set_labels", asked, LabelledSession)


async def set_owner(database: Database, asked: SetOwner) -> FoundSession:
    """Set who looks after a session. Raises NotFound and Invalid."""
    return await call(database, "set_owner", asked, FoundSession)


async def add_note(database: Database, asked: AddNote) -> KeptNote:
    """Add a note to a session. Raises NotFound and Invalid."""
    return await call(database, "add_note", asked, KeptNote)


async def list_notes(database: Database, asked: ListNotes) -> NotePage:
    """Return a page of a session's notes, the newest first. Raises NotFound and Invalid."""
    return await call(database, "list_notes", asked, NotePage)


async def remove_note(database: Database, asked: RemoveNote) -> RemovedNote:
    """Remove a note. Raises NotFound."""
    return await call(database, "remove_note", asked, RemovedNote)
