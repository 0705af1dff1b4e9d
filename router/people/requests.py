"""Finds, exports and erases all data of one contact."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

from router.errors import Conflict
from router.people.hashing import ContactHashes
from router.state.calls import people
from router.state.calls.people import ContactHead, ErasedContact, ExportList, Row
from router.state.database import Database, Json
from router.state.pages import all_pages
from router.whatsapp.jids import is_group, normalise_jid
from router.whatsapp.numbers import contact_jids

_TRIES = 3
_PAGE = 200
EXPORTED: Mapping[str, tuple[ExportList, ...]] = {
    "messages": ("messages",),
    "archived_messages": ("archived_messages",),
    "turns": ("turns",),
    "turn_attempts": ("turn_attempts",),
    "notices": ("notices",),
    "media_jobs": ("media_jobs",),
    "kept_files": ("kept_files",),
    "spending": ("spending",),
    "session_notes": ("session_notes",),
    "relays": ("relays",),
    "handoffs": ("handoffs",),
    "events": ("events", "archived_events", "changes"),
}
"""The lists of an export, each with the state's lists that it is made of."""


class Named(TypedDict):
    """The person that a call is about."""

    tenant_id: int
    jids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """The person whose data is requested: a contact of a tenant (or a whole group)."""

    tenant_id: int
    jids: tuple[str, ...]

    @classmethod
    def known_as(cls, tenant_id: int, contact: str) -> "Person":
        """Accept a number in any spelling, or a JID. Raises Invalid for anything else."""
        jid = normalise_jid(contact)
        return cls(tenant_id, (jid,) if is_group(jid) else contact_jids(contact))

    @property
    def named(self) -> Named:
        """The arguments that name the person in calls of SQL functions."""
        return {"tenant_id": self.tenant_id, "jids": self.jids}


async def begin_export(database: Database, person: Person) -> ContactHead:
    """Return what is known about the person, except the rows of `EXPORTED`. Raises NotFound."""
    asked = people.ExportContact(**person.named, rows_follow=True)
    return (await people.export_contact(database, asked)).contact


async def exported_rows(
    database: Database, contact: ContactHead, name: str
) -> AsyncIterator[tuple[Row, ...]]:
    """Yield the rows of one list of `EXPORTED`, page by page: there may be any number.

    Each page is a separate call, so that no other work waits long for a connection or a session.
    """
    for session_id in contact.session_ids:
        for part in EXPORTED[name]:
            asked = people.ExportRows(
                tenant_id=contact.tenant_id, session_id=session_id, list=part, limit=_PAGE
            )
            async for rows in all_pages(people.export_rows, database, asked):
                if rows:
                    yield rows


async def export_contact(database: Database, person: Person) -> Json:
    """Return everything that is stored about the person. Raises NotFound."""
    contact = await begin_export(database, person)
    rows = {
        name: [row async for page in exported_rows(database, contact, name) for row in page]
        for name in EXPORTED
    }
    return {**contact.model_dump(mode="json"), **rows}


async def erase_contact(database: Database, hashes: ContactHashes, person: Person) -> ErasedContact:
    """Erase the person for good; return what was erased. Raises NotFound, Invalid and Conflict.

    A long history is erased in parts, the oldest first; after an interruption, call this again. The
    state knows the person's identities, and the hashes are made here, so there are two calls. If
    the contact gets another identity between them, it is looked up again.
    """
    erased: Counter[str] = Counter()
    has_more = True
    while has_more:
        part = await people.erase_history(database, people.EraseHistory(**person.named))
        erased.update(part.erased)
        has_more = part.more
    for last_try in [False] * (_TRIES - 1) + [True]:
        known = await people.find_contact(database, people.FindContact(**person.named))
        by_jid = hashes.by_jid({*person.jids, *known.identities})
        asked = people.EraseContact(**person.named, hashes=by_jid, erased=dict(erased))
        try:
            return await people.erase_contact(database, asked)
        except Conflict:
            if last_try:
                raise
    raise AssertionError
