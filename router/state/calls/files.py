"""The business's own files: database/schema/0725_files.sql."""

from typing import Literal

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.calls.shown import Time
from router.state.database import Database

FileKind = Literal["image", "sticker", "video", "audio", "document"]


class TenantFile(Answer):
    """A file, without its content."""

    id: int
    tenant_id: int
    name: str
    description: str
    kind: FileKind
    file_name: str
    bytes: int
    created_by: str
    created_at: Time


class TenantFiles(Answer):
    """A tenant's files, by name."""

    items: Items[TenantFile]


class SetFile(Asked):
    """The file and its name, with its content in base64, or the id of its file in the store."""

    tenant_id: int
    name: Text
    description: Text
    kind: FileKind
    file_name: Text
    content: Text | None = None
    kept_file_id: int | None = None


class KeptFile(Answer):
    """The stored file."""

    file: TenantFile


class ListFiles(Asked):
    """The tenant."""

    tenant_id: int


class RemoveFile(Asked):
    """The file to remove."""

    tenant_id: int
    name: Text


class RemovedFile(Answer):
    """The result of a removal."""

    removed: bool


class ReadFile(Asked):
    """The file to read."""

    tenant_id: int
    name: Text


class StoredFile(Answer):
    """The place of a file in the store."""

    store: str
    name: str
    bytes: int


class FileContent(Answer):
    """A file's content in base64, or its place in the store; neither: there is no such file."""

    content: str | None
    stored: StoredFile | None = None


async def set_file(database: Database, asked: SetFile) -> KeptFile:
    """Store a file, replacing one with the same name. Raises NotFound and Invalid."""
    return await call(database, "set_file", asked, KeptFile)


async def list_files(database: Database, asked: ListFiles) -> TenantFiles:
    """Return a tenant's files."""
    return await call(database, "list_files", asked, TenantFiles)


async def remove_file(database: Database, asked: RemoveFile) -> RemovedFile:
    """Remove a file."""
    return await call(database, "remove_file", asked, RemovedFile)


async def read_file(database: Database, asked: ReadFile) -> FileContent:
    """Return a file's content or place."""
    return await call(database, "read_file", asked, FileContent)
