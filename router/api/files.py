"""The business's own files, which the AI may send by name."""

import base64
import binascii
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from router.api.dependencies import PathId, TheDatabase, TheFiles
from router.api.keyed import keyed
from router.errors import Invalid
from router.kept.owning import write_own_file
from router.state.calls import files
from router.state.calls.files import RemovedFile, TenantFile, TenantFiles
from router.whatsapp.file_types import type_of_file

router = keyed("tenants", prefix="/tenants/{tenant_id}/files")
_Name = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,39}$", examples=["cake-menu"])]


class FileRequest(BaseModel, extra="forbid"):
    """A file: its description for the AI, and its bytes in base64 (a request has a size limit)."""

    description: str = Field(
        min_length=1, max_length=300, examples=["The menu of cakes, a picture"]
    )
    content: str = Field(min_length=4, examples=["/9j/4AAQSkZJRgABAQAAAQABAAD/2Q=="])


@router.get("", summary="List a tenant's files")
async def list_files(tenant_id: PathId, database: TheDatabase) -> TenantFiles:
    """The files that the AI may send, without their contents."""
    return await files.list_files(database, files.ListFiles(tenant_id=tenant_id))


@router.put("/{name}", summary="Keep a file of a tenant")
async def set_file(
    tenant_id: PathId, name: _Name, given: FileRequest, database: TheDatabase, kept: TheFiles
) -> TenantFile:
    """Replaces a file of that name. The content decides how it is sent.

    JPEG and PNG are pictures, WebP is a sticker, MP4 a video, MP3, M4A and Ogg are sound, PDF is a
    document.
    """
    try:
        content = base64.b64decode(given.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("content must be base64") from error
    found = type_of_file(content)
    if found is None:
        raise Invalid("content must be a JPEG, PNG, WebP, MP4, MP3, M4A, Ogg or PDF file")
    if len(content) > found.most:
        raise Invalid(
            f"content has {len(content)} bytes, WhatsApp takes {found.most} of a {found.kind}"
        )
    stored = await write_own_file(database, kept.store, tenant_id, content)
    asked = files.SetFile(
        tenant_id=tenant_id,
        name=name,
        description=given.description,
        kind=found.kind,
        file_name=f"{name}.{found.ending}",
        content=base64.b64encode(content).decode() if stored is None else None,
        kept_file_id=stored,
    )
    return (await files.set_file(database, asked)).file


@router.delete("/{name}", summary="Remove a file of a tenant")
async def remove_file(tenant_id: PathId, name: _Name, database: TheDatabase) -> RemovedFile:
    """`removed` is false if there is none. The AI stops knowing it at once."""
    return await files.remove_file(database, files.RemoveFile(tenant_id=tenant_id, name=name))
