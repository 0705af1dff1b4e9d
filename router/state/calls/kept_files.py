"""Files in the store, from contacts and of the business: database/schema/0662_kept_files.sql."""

from typing import Literal

from router.state.calls.model import Answer, Asked, Items, Refusal, Text, call, call_or_refused
from router.state.calls.shown import Time
from router.state.database import Database

Store = Literal["folder", "bucket"]


class BeginKeeping(Asked):
    """The attempt at a media job, and the file that it fetched for `store`."""

    job_id: int
    token: str
    store: Store
    media_type: str
    bytes: int
    sha256: str
    most_bytes: int


class BegunFile(Answer):
    """The file's row, and its name in the store."""

    file_id: int
    name: str


async def begin_keeping(database: Database, asked: BeginKeeping) -> BegunFile | Refusal:
    """Record that a contact's file is about to be written."""
    return await call_or_refused(database, "begin_keeping", asked, BegunFile, Refusal)


class BeginOwnFile(Asked):
    """The tenant, and its own file for `store`."""

    tenant_id: int
    store: Store
    media_type: str
    bytes: int
    sha256: str


async def begin_own_file(database: Database, asked: BeginOwnFile) -> BegunFile:
    """Record that a business's own file is about to be written. Raises NotFound."""
    return await call(database, "begin_own_file", asked, BegunFile)


class FinishKeeping(Asked):
    """That a file was written, or why not; then `content` (base64) stays in its row for a day."""

    file_id: int
    error: Text | None = None
    content: Text | None = None
    most_waiting: int | None = None


class FileState(Answer):
    """The file's state from now on."""

    state: str


async def finish_keeping(database: Database, asked: FinishKeeping) -> FileState:
    """Record the result of the writing."""
    return await call(database, "finish_keeping", asked, FileState)


class ClaimKeptFiles(Asked):
    """The stores, how many files to claim, and in how many seconds each is due again."""

    stores: tuple[Store, ...]
    limit: int
    retry_seconds: float


class ClaimedFile(Answer):
    """What must be done with a file; without a name, the store has nothing of it."""

    file_id: int
    store: Store
    name: str | None
    wanted: Literal["write", "remove"]


class ClaimedFiles(Answer):
    """The claimed files, and whether there are more."""

    files: Items[ClaimedFile]
    more: bool


async def claim_kept_files(database: Database, asked: ClaimKeptFiles) -> ClaimedFiles:
    """Claim files that must be written or deleted."""
    return await call(database, "claim_kept_files", asked, ClaimedFiles)


class ReadWaitingFile(Asked):
    """The file to read."""

    file_id: int


class WaitingFile(Answer):
    """The file's content in base64; None: it no longer waits."""

    content: str | None


async def read_waiting_file(database: Database, asked: ReadWaitingFile) -> WaitingFile:
    """Return the content of a file that waits for the store."""
    return await call(database, "read_waiting_file", asked, WaitingFile)


class SettleKeptFile(Asked):
    """What was done with a file, or why nothing was."""

    file_id: int
    done: Literal["written", "removed"]
    error: Text | None = None


class FileSettled(Answer):
    """Whether the file still had a row."""

    known: bool


async def settle_kept_file(database: Database, asked: SettleKeptFile) -> FileSettled:
    """Record what the store has done with a file."""
    return await call(database, "settle_kept_file", asked, FileSettled)


class FindKeptFile(Asked):
    """The message whose file is wanted."""

    tenant_id: int
    message_id: int


class KeptFile(Answer):
    """A file's place and type."""

    file_id: int
    store: Store
    name: str
    media_type: str
    bytes: int
    sha256: str
    expires_at: Time


class FoundFile(Answer):
    """The file of a message."""

    file: KeptFile


async def find_kept_file(database: Database, asked: FindKeptFile) -> FoundFile | Refusal:
    """Return where a message's file is. Raises NotFound if there is no such message."""
    return await call_or_refused(database, "find_kept_file", asked, FoundFile, Refusal)
