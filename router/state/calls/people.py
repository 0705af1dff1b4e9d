"""Finding, exporting and erasing all data of one contact.

database/schema/0895_people.sql, 0896_export.sql, 0896_export_rows.sql and 0897_erasure.sql.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.calls.shown import AskedPage, Page
from router.state.database import Database

Row = dict[str, Any]
"""Everything that the state has about one thing: an export leaves nothing out."""

ExportList = Literal[
    "messages",
    "archived_messages",
    "turns",
    "turn_attempts",
    "notices",
    "media_jobs",
    "kept_files",
    "spending",
    "session_notes",
    "relays",
    "handoffs",
    "events",
    "archived_events",
    "changes",
]


class FindContact(Asked):
    """The person, by JIDs of which one may be known."""

    tenant_id: int
    jids: tuple[Text, ...]


class FoundContact(Answer):
    """All JIDs of a contact, and its sessions."""

    session_ids: Items[int]
    identities: Items[str]


class ExportContact(FindContact):
    """The person. `rows_follow`: the rows of sessions are read with `export_rows`."""

    rows_follow: bool | None = None


class ContactHead(Answer):
    """The contact whose data is exported."""

    tenant_id: int
    exported_at: str
    identities: Items[str] = Field(description="Every JID under which the contact is known")
    sessions: Items[Row]

    @property
    def session_ids(self) -> Items[int]:
        """The sessions' ids."""
        return tuple(session["id"] for session in self.sessions)


class BegunExport(Answer):
    """The first part of an export."""

    contact: ContactHead


class ExportRows(AskedPage):
    """A list of a session, and the requested page."""

    tenant_id: int
    session_id: int
    list: ExportList


class EraseHistory(FindContact):
    """The person, and how many messages to erase at once."""

    batch: int | None = None


class ErasedHistory(Answer):
    """How many rows of each table were erased, and whether the call must be repeated."""

    erased: dict[str, int]
    more: bool


class EraseContact(FindContact):
    """The person, the hashes that stay for each JID, and what was erased already."""

    hashes: Mapping[str, Sequence[str]]
    erased: Mapping[str, int] | None = None


class ErasedContact(Answer):
    """The result of an erasure."""

    erased: dict[str, int] = Field(description="Rows of each table")
    session_ids: Items[int]
    execution_ids: Items[str] = Field(description="n8n's executions for this contact")


async def find_contact(database: Database, asked: FindContact) -> FoundContact:
    """Return all JIDs of a contact. Raises NotFound."""
    return await call(database, "find_contact", asked, FoundContact)


async def export_contact(database: Database, asked: ExportContact) -> BegunExport:
    """Return the first part of a contact's export. Raises NotFound."""
    return await call(database, "export_contact", asked, BegunExport)


async def export_rows(database: Database, asked: ExportRows) -> Page[Row]:
    """Return a page of rows of a list. Raises NotFound."""
    return await call(database, "export_rows", asked, Page[Row])


async def erase_history(database: Database, asked: EraseHistory) -> ErasedHistory:
    """Erase a batch of the oldest messages of a contact with many. Raises NotFound."""
    return await call(database, "erase_history", asked, ErasedHistory)


async def erase_contact(database: Database, asked: EraseContact) -> ErasedContact:
    """Erase a contact. Raises NotFound, and Conflict if one of their JIDs has no hash."""
    return await call(database, "erase_contact", asked, ErasedContact)
