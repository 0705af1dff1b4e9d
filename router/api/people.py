"""Export and erasure of all data of a contact, as the LGPD and the GDPR require."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import Path, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from router.api.dependencies import (
    Caller,
    TenantId,
    TheAbandon,
    TheDatabase,
    TheEraser,
    TheHashes,
)
from router.api.keyed import keyed
from router.logs.events import Action, log_event
from router.people.requests import (
    EXPORTED,
    Person,
    begin_export,
    exported_rows,
)
from router.people.requests import erase_contact as erase_all_of
from router.state.calls.people import ContactHead, ErasedContact, Row
from router.state.database import Database

router = keyed("people's data")
_log = logging.getLogger(__name__)
_Number = Annotated[
    str, Path(max_length=60, description="Phone number with country code, or JID (also a group's)")
]
_Rows = tuple[Row, ...]


class ExportedContact(ContactHead):
    """All data of a contact, under any of its identities."""

    messages: _Rows
    archived_messages: _Rows = Field(description="Messages older than the retention")
    turns: _Rows = Field(description="The work of making each reply, with its errors")
    turn_attempts: _Rows = Field(description="Each attempt at a turn: when, by whom, how it ended")
    notices: _Rows = Field(description="What the staff were told about the contact")
    media_jobs: _Rows = Field(
        description="The work of putting their media into words. Without the media: the small"
        " copies of pictures go within a day and what came in a webhook once it is understood; what"
        " was made of them is in `messages` (`transcript`, `description`)"
    )
    kept_files: _Rows = Field(
        description="Which of their files are kept, and until when. Without the files themselves:"
        " download each with `GET /api/messages/{message_id}/media`"
    )
    spending: _Rows = Field(description="Turns and tokens of each day")
    session_notes: _Rows = Field(description="What the staff noted about the contact")
    relays: _Rows = Field(description="What people wrote to the contact through HybridFlow")
    handoffs: _Rows = Field(description="When the AI wanted a human, and who came")
    events: _Rows = Field(description="The recorded webhooks and the decision on each")


@router.post(
    "/contacts/{number}/export",
    summary="Export all data of a contact",
    response_model=ExportedContact,
)
async def export_contact(
    number: _Number,
    tenant_id: TenantId,
    database: TheDatabase,
    caller: Caller,
    hashes: TheHashes,
) -> StreamingResponse:
    """Answers a person's request for their data. The audit line has counts only.

    The response is streamed. If it breaks off, it is not valid JSON.
    """
    person = Person.known_as(tenant_id, number)
    contact = await begin_export(database, person)
    log_event(
        _log,
        Action.CONTACT_EXPORTED,
        "all of a contact's data was given out",
        tenant_id=tenant_id,
        caller=caller,
        contact=hashes.in_log(person.jids),
    )
    return StreamingResponse(
        _written(database, contact),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def _written(database: Database, contact: ContactHead) -> AsyncIterator[bytes]:
    """Yield the JSON of an ExportedContact as it is read; an interrupted one is not valid JSON."""
    yield orjson.dumps(contact.model_dump())[:-1]
    for name in EXPORTED:
        yield b',"' + name.encode() + b'":['
        begins = b""
        async for rows in exported_rows(database, contact, name):
            yield begins + orjson.dumps(rows)[1:-1]
            begins = b","
        yield b"]"
    yield b"}"


@router.post("/contacts/{number}/erase", summary="Erase all data of a contact")
async def erase_contact(
    number: _Number,
    tenant_id: TenantId,
    database: TheDatabase,
    abandon: TheAbandon,
    wake_eraser: TheEraser,
    caller: Caller,
    hashes: TheHashes,
    response: Response,
) -> ErasedContact:
    """Cannot be undone. Earlier messages do not come back; a new one starts a new conversation."""
    person = Person.known_as(tenant_id, number)
    erased = await erase_all_of(database, hashes, person)
    for session_id in erased.session_ids:
        abandon(session_id)
    wake_eraser()
    response.headers["Cache-Control"] = "no-store"
    log_event(
        _log,
        Action.CONTACT_ERASED,
        "all of a contact's data was erased",
        tenant_id=tenant_id,
        caller=caller,
        erased=erased.erased,
        contact=hashes.in_log(person.jids),
    )
    return erased
