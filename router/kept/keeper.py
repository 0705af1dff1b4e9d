"""Writes files that the store has not accepted yet, and deletes files that are due.

The state knows what to do. A file's row is deleted only after the file, so neither a store that is
away nor a crash leaves a file behind.
"""

import asyncio
import base64
import logging
from typing import Literal

from router.kept.store import FileStore, StoreAway
from router.logs.events import Action, log_event
from router.running.claims import Claimant, ClaimTerms, Look, Work
from router.state.calls.kept_files import (
    ClaimedFile,
    ClaimKeptFiles,
    ReadWaitingFile,
    SettleKeptFile,
    claim_kept_files,
    read_waiting_file,
    settle_kept_file,
)
from router.state.database import Database

_log = logging.getLogger(__name__)
_PAUSE = 30.0  # seconds between two looks
_RETRY = 600.0  # seconds until what was claimed is due again
_BATCH = 20


class Keeper(Claimant[Work]):
    """The loop between the state and the store."""

    def __init__(self, database: Database, store: FileStore) -> None:
        terms = ClaimTerms(_PAUSE, _PAUSE, "kept files could not be looked after")
        super().__init__(_BATCH, terms)
        self._database = database
        self._store = store

    async def _claim(self, free: int) -> Look:
        """Write or delete a batch of due files, one after the other."""
        asked = ClaimKeptFiles(stores=(self._store.kind,), limit=free, retry_seconds=_RETRY)
        claimed = await claim_kept_files(self._database, asked)
        errors: set[str] = set()
        for file in claimed.files:
            if (error := await self._settle(file)) is not None:
                errors.add(error)
        for error in errors:
            log_event(
                _log, Action.FILE_NOT_KEPT, f"files were not written or removed: {error}",
                level=logging.WARNING,
            )  # fmt: skip
        return Look(more=claimed.more and not errors)

    async def _settle(self, file: ClaimedFile) -> str | None:
        """Return why it could not be done; None: it is done, or is no longer needed."""
        done: Literal["written", "removed"] = "removed" if file.wanted == "remove" else "written"
        error = None
        try:
            if file.wanted == "write":
                if not await self._write(file):
                    return None  # it must be deleted by now, which is another piece of work
            elif file.name is not None:
                await self._store.remove(file.name)
        except StoreAway as away:
            error = str(away)
        asked = SettleKeptFile(file_id=file.file_id, done=done, error=error)
        await settle_kept_file(self._database, asked)
        return error

    async def _write(self, file: ClaimedFile) -> bool:
        asked = ReadWaitingFile(file_id=file.file_id)
        content = (await read_waiting_file(self._database, asked)).content
        if content is None or file.name is None:
            return False
        await self._store.write(file.name, await asyncio.to_thread(base64.b64decode, content))
        return True
