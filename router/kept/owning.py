"""Writes a business's own file to the store; if that is impossible, the database keeps it."""

import asyncio
import hashlib
import logging

from router.kept.store import FileStore, StoreAway
from router.kept.types import media_type_of
from router.logs.events import Action, log_event
from router.state.calls.kept_files import BeginOwnFile, begin_own_file
from router.state.database import Database

_log = logging.getLogger(__name__)
_PATIENCE = 15.0  # seconds: a person waits for the answer


async def write_own_file(
    database: Database, store: FileStore | None, tenant_id: int, content: bytes
) -> int | None:
    """Return the id of the file's row; None: no store has it. Raises NotFound and StateError."""
    if store is None:
        return None
    asked = BeginOwnFile(
        tenant_id=tenant_id,
        store=store.kind,
        media_type=media_type_of(content),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    begun = await begin_own_file(database, asked)
    try:
        async with asyncio.timeout(_PATIENCE):
            await store.write(begun.name, content)
    except (StoreAway, TimeoutError) as error:
        why = str(error) or "the store takes too long"
        log_event(
            _log, Action.FILE_NOT_KEPT,
            f"a business's own file is kept in the database: {why}",
            level=logging.WARNING, tenant_id=tenant_id,
        )  # fmt: skip
        return None
    return begun.file_id
