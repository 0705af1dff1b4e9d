"""Files in the store, contacts' and a business's own: database/schema/0662_kept_files.sql."""

from typing import Literal

from router.state.calls.model import Answer, Asked, Items, Refusal, Text, call, call_or_refused
from router.state.calls.shown import Time
from router.state.database import Database

Store = Literal["folder", "bucket"]


class BeginKeeping(Asked):
    """Which attempt at a media job has fetched what; it goes to `store`."""

    job_id: int
    token: str
    store: Store
    media_type: str
    bytes: int
    sha256: str
    most_bytes: int


class BegunFile(Answer):
    """The file's row, and the name under which it is written."""

    file_id: int
    name: str


async def begin_keeping(database: Database, asked: BeginKeeping) -> BegunFile | Refusal:
    """Record that a file is about to be written."""
    return await call_or_refused(database, "begin_keeping", asked, BegunFile, Refusal)


class BeginOwnFile(Asked):
    """Whose own file goes to `store`."""

    tenant_id: int
    store: Store
    media_type: str
    bytes: int
    sha256: str


async def begin_own_file(database: Database, asked: BeginOwnFile) -> BegunFile:
    """Record that a business's own file is about to be written. Raises NotFound."""
    return await call(database, "begin_own_file", asked, BegunFile)


class FinishKeeping(Asked):
    """It was written, or why not; then `content` (base64) is kept in its row for a day."""

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
    """Of which stores, how many, and in how many seconds each is due again."""

    stores: tuple[Store, ...]
    limit: int
    retry_seconds: float


class ClaimedFile(Answer):
    """What is to be done with a file; without a name nothing of it is in the store."""

    file_id: int
    store: Store
    name: str | None
    wanted: Literal["write", "remove"]


class ClaimedFiles(Answer):
    """What is to be done now, and whether there is more."""

    files: Items[ClaimedFile]
    more: bool


async def claim_kept_files(database: Database, asked: ClaimKeptFiles) -> ClaimedFiles:
    """Take files that are to be written or removed."""
    return await call(database, "claim_kept_files", asked, ClaimedFiles)


class ReadWaitingFile(Asked):
    """Which file."""

    file_id: int


class WaitingFile(Answer):
    """The file in base64; None: it no longer waits."""

    content: str | None


async def read_waiting_file(database: Database, asked: ReadWaitingFile) -> WaitingFile:
    """Return what is to be written."""
    return await call(database, "read_waiting_file", asked, WaitingFile)


class SettleKeptFile(Asked):
    """What was done with a file, or why it was not."""

    file_id: int
    done: Literal["written", "removed"]
    error: Text | None = None


class FileSettled(Answer):
    """Whether there was such a row."""

    known: bool


async def settle_kept_file(database: Database, asked: SettleKeptFile) -> FileSettled:
    """Record what the store has done."""
    return await call(database, "settle_kept_file", asked, FileSettled)


class FindKeptFile(Asked):
    """Of which message."""

    tenant_id: int
    message_id: int


class KeptFile(Answer):
    """Where a file is, and what it is."""

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
    """Return where it is. Raises NotFound where there is no such message."""
    return await call_or_refused(database, "find_kept_file", asked, FoundFile, Refusal)
