"""What people attach to a conversation: labels, an owner, notes. Contacts never see these."""

from typing import Annotated

from pydantic import BaseModel, Field

from router.api.dependencies import (
    PathId,
    TenantId,
    TheAbandon,
    TheDatabase,
    TheLists,
    TheSettings,
)
from router.api.keyed import keyed
from router.api.queries import AskedNotes
from router.state.calls import keeping
from router.state.calls.keeping import LabelledSession, Note, NotePage, RemovedNote
from router.state.calls.reading import Session
from router.tenants.policy import policy

router = keyed("sessions", prefix="/sessions/{session_id}")
_Labels = Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)]


class LabelsRequest(BaseModel, extra="forbid"):
    """Labels to add and to remove: lower-case letters, digits and hyphens."""

    add: _Labels = Field(default=[], examples=[["vip"]])
    remove: _Labels = Field(default=[], examples=[["no-ai"]])


class OwnerRequest(BaseModel, extra="forbid"):
    """Who looks after it; null: nobody in particular."""

    owner: str | None = Field(min_length=1, max_length=100)


class NoteRequest(BaseModel, extra="forbid"):
    """The text of the note."""

    body: str = Field(min_length=1, max_length=4000)


@router.post("/labels", summary="Add or remove labels of a session")
async def change_labels(
    session_id: PathId,
    tenant_id: TenantId,
    labels: LabelsRequest,
    database: TheDatabase,
    settings: TheSettings,
    abandon: TheAbandon,
) -> LabelledSession:
    """`no-ai`: the AI stops answering there. `vip`: the AI and flows know it."""
    asked = keeping.SetLabels(
        tenant_id=tenant_id,
        session_id=session_id,
        add=tuple(labels.add),
        remove=tuple(labels.remove),
        policy=policy(settings),
    )
    changed = await keeping.set_labels(database, asked)
    if changed.cancelled_turns:
        abandon(session_id)
    return changed


@router.put("/owner", summary="Set who of the business looks after a session")
async def change_owner(
    session_id: PathId,
    tenant_id: TenantId,
    wanted: OwnerRequest,
    database: TheDatabase,
    settings: TheSettings,
) -> Session:
    """Any name, such as a user's id; it grants no permissions."""
    asked = keeping.SetOwner(
        tenant_id=tenant_id, session_id=session_id, owner=wanted.owner, policy=policy(settings)
    )
    return (await keeping.set_owner(database, asked)).session


@router.get("/notes", summary="List a session's notes, newest first")
async def list_notes(session_id: PathId, query: AskedNotes, database: TheLists) -> NotePage:
    """The notes of the business's people."""
    asked = keeping.ListNotes(**query.model_dump(), session_id=session_id)
    return await keeping.list_notes(database, asked)


@router.post("/notes", status_code=201, summary="Add a note to a session")
async def create_note(
    session_id: PathId, tenant_id: TenantId, note: NoteRequest, database: TheDatabase
) -> Note:
    """Never sent to the contact; the AI gets it if the tenant has `notes_to_llm`."""
    asked = keeping.AddNote(tenant_id=tenant_id, session_id=session_id, body=note.body)
    return (await keeping.add_note(database, asked)).note


@router.delete("/notes/{note_id}", summary="Remove a note")
async def remove_note(
    session_id: PathId, note_id: PathId, tenant_id: TenantId, database: TheDatabase
) -> RemovedNote:
    """`removed` is false if there is none."""
    asked = keeping.RemoveNote(tenant_id=tenant_id, session_id=session_id, note_id=note_id)
    return await keeping.remove_note(database, asked)
