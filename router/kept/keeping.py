"""Keeps a media job's file while the job does its other work: first the row, then the file.

A failure here affects nothing else: the customer still gets an answer. If the store does not accept
the file, its content is kept in the row and tried again for a day (`keeper.py`).
"""

import asyncio
import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.errors import StateError
from router.kept.store import FileStore, StoreAway, StoreRefuses
from router.kept.types import media_type_of
from router.logs.events import Action, log_event
from router.running.loops import log_unexpected
from router.state.calls.kept_files import (
    BeginKeeping,
    BegunFile,
    FinishKeeping,
    begin_keeping,
    finish_keeping,
)
from router.state.calls.media_jobs import ClaimedMediaJob
from router.state.database import Database

_log = logging.getLogger(__name__)
_PATIENCE = 3.0  # seconds that the answer waits for the store, after the job's other work
_MOST_WAITING = 64_000_000  # bytes of a tenant's files in the database while the store is away


@dataclass(frozen=True, slots=True)
class Keeping:
    """Keeps files in one store; at most `most_bytes` of each tenant."""

    database: Database
    store: FileStore
    most_bytes: int
    patience: float = _PATIENCE

    @asynccontextmanager
    async def beside(self, job: ClaimedMediaJob, content: bytes) -> AsyncIterator[None]:
        """Keep the job's media during the block, if the tenant's settings say so.

        When the block has ended, with or without an error, the media is in the store or in its row.
        If the task is cancelled it may be in neither, but then the job runs again.
        """
        begun = await self._begin(job, content) if job.keeps else None
        if begun is None:
            yield
            return
        writing = asyncio.create_task(self._write(begun, content), name=f"keeping {begun.name}")
        try:
            try:
                yield
            except Exception:
                await self._finish(job, begun, content, writing)
                raise
            await self._finish(job, begun, content, writing)
        finally:
            writing.cancel()

    async def _begin(self, job: ClaimedMediaJob, content: bytes) -> BegunFile | None:
        asked = BeginKeeping(
            **job.held,
            store=self.store.kind,
            media_type=await asyncio.to_thread(media_type_of, content),
            bytes=len(content),
            sha256=await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest()),
            most_bytes=self.most_bytes,
        )
        begun = await begin_keeping(self.database, asked)
        if isinstance(begun, BegunFile):
            return begun
        if begun.refused == "full":
            _tell(job, "the tenant's files take all the room they may (MEDIA_BYTES_PER_TENANT)")
        return None

    async def _write(self, begun: BegunFile, content: bytes) -> StoreAway | None:
        """Return why the file was not written; None: it was."""
        try:
            await self.store.write(begun.name, content)
        except StoreAway as error:
            return error
        except Exception as error:  # noqa: BLE001 - the job's other work goes on
            log_unexpected("a file was not kept", error)
            return StoreAway(f"unexpected {type(error).__name__}")
        return None

    async def _finish(
        self,
        job: ClaimedMediaJob,
        begun: BegunFile,
        content: bytes,
        writing: "asyncio.Task[StoreAway | None]",
    ) -> None:
        await asyncio.wait({writing}, timeout=self.patience)
        slow = StoreAway("the store takes too long")
        error = writing.result() if writing.done() else slow
        asked = FinishKeeping(file_id=begun.file_id)
        if error is not None:
            _tell(job, str(error))
            asked = FinishKeeping(file_id=begun.file_id, error=str(error))
        if error is not None and not isinstance(error, StoreRefuses):
            written = await asyncio.to_thread(base64.b64encode, content)
            asked = asked.model_copy(
                update={"content": written.decode(), "most_waiting": _MOST_WAITING}
            )
        try:
            await finish_keeping(self.database, asked)
        except StateError as away:
            _tell(job, f"the result could not be recorded: {away}")


def _tell(job: ClaimedMediaJob, why: str) -> None:
    log_event(
        _log, Action.FILE_NOT_KEPT, f"a file is not kept: {why}", level=logging.WARNING,
        tenant_id=job.tenant_id, session_id=job.session_id, job_id=job.job_id,
    )  # fmt: skip
