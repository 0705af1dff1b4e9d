"""All of one contact's data: found, exported, erased.

database/schema/0895_people.sql, 0896_export.sql, 0896_export_rows.sql and 0897_erasure.sql.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.calls.shown import AskedPage, Page
from router.state.database import Database

Row = dict[str, Any]
"""Everything that the state has of one thing: an export leaves nothing out."""

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
    """The person, by JIDs that may be known."""

    tenant_id: int
    jids: tuple[Text, ...]


class FoundContact(Answer):
    """Under which JIDs somebody is known, and in which sessions."""

    session_ids: Items[int]
    identities: Items[str]


class ExportContact(FindContact):
    """The person; with `rows_follow`, a session's rows are requested by `export_rows`."""

    rows_follow: bool | None = None


class ContactHead(Answer):
    """Who it is whose data is given out."""

    tenant_id: int
    exported_at: str
    identities: Items[str] = Field(description="Every JID under which the contact is known")
    sessions: Items[Row]

    @property
    def session_ids(self) -> Items[int]:
        """Their ids."""
        return tuple(session["id"] for session in self.sessions)


class BegunExport(Answer):
    """What is given out first."""

    contact: ContactHead


class ExportRows(AskedPage):
    """Which list of which session."""

    tenant_id: int
    session_id: int
    list: ExportList


class EraseHistory(FindContact):
    """Whose, and how many messages at once."""

    batch: int | None = None


class ErasedHistory(Answer):
    """How many rows of each table; and whether so many are left that it must go on."""

    erased: dict[str, int]
    more: bool


class EraseContact(FindContact):
    """The person; the hashes that stay for each JID; and what was already erased."""

    hashes: Mapping[str, Sequence[str]]
    erased: Mapping[str, int] | None = None


class ErasedContact(Answer):
    """What was erased."""

    erased: dict[str, int] = Field(description="Rows of each table")
    session_ids: Items[int]
    execution_ids: Items[str] = Field(description="n8n's executions for this contact")


async def find_contact(database: Database, asked: FindContact) -> FoundContact:
    """Return under which JIDs a contact is known. Raises NotFound."""
    return await call(database, "find_contact", asked, FoundContact)


async def export_contact(database: Database, asked: ExportContact) -> BegunExport:
    """Return who it is. Raises NotFound."""
    return await call(database, "export_contact", asked, BegunExport)


async def export_rows(database: Database, asked: ExportRows) -> Page[Row]:
    """Return some rows of a list. Raises NotFound."""
    return await call(database, "export_rows", asked, Page[Row])


async def erase_history(database: Database, asked: EraseHistory) -> ErasedHistory:
    """Erase some of the oldest messages of a contact that has many. Raises NotFound."""
    return await call(database, "erase_history", asked, ErasedHistory)


async def erase_contact(database: Database, asked: EraseContact) -> ErasedContact:
    """Erase a contact. Raises NotFound, and Conflict if one of their JIDs has no hash."""
    return await call(database, "erase_contact", asked, ErasedContact)
