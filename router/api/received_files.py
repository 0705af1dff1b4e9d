"""Downloads of files that contacts sent and their tenant keeps; they are returned unchanged.

Browsers must never display such a file: it may contain anything, and has the API's origin.
"""

import asyncio
import hashlib
import logging
from contextlib import ExitStack

from fastapi import Response

from router.api.dependencies import Caller, PathId, TenantId, TheDatabase, TheFiles
from router.api.keyed import keyed
from router.http.errors import ErrorBody, error_response
from router.http.held_answers import HeldAnswer
from router.kept.store import NoSuchFile, StoreAway
from router.kept.types import file_name_of
from router.logs.events import Action, log_event
from router.sharing.shares import TENANT
from router.state.calls.kept_files import FindKeptFile, KeptFile, find_kept_file
from router.state.calls.model import Refusal

router = keyed("sessions", prefix="/messages/{message_id}")
_log = logging.getLogger(__name__)
_WAIT = 5.0  # seconds to wait for a place to read
_WHY = {
    "not_kept": "no file of this message was kept (keep_media_days, MEDIA_FOLDER, MEDIA_BUCKET)",
    "not_yet": "the file is on its way to where files are kept: ask again soon",
    "failed": "the file could not be kept; the log has why",
    "expired": "its days (keep_media_days) are over, and the file is gone",
    "deleted": "who sent the message has deleted it, and the file is gone",
    "lost": "the file is not where it was kept: somebody else has removed or changed it",
}


@router.get(
    "/media",
    summary="Download the file that a contact sent",
    response_class=Response,
    responses={
        200: {
            "description": "The file, as it came",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
        404: {
            "model": ErrorBody,
            "description": "There is no such message (`not_found`), or its file is not available:"
            " `not_kept`, `not_yet`, `failed`, `expired`, `deleted`, `lost`",
        },
        503: {
            "model": ErrorBody,
            "description": "`store_away`, `busy`, or the database is away; retry",
        },
    },
)
async def get_media(
    message_id: PathId, tenant_id: TenantId, database: TheDatabase, files: TheFiles, caller: Caller
) -> Response:
    """The file that a contact sent, while the tenant keeps it (`keep_media_days`). Audited."""
    found = await find_kept_file(database, FindKeptFile(tenant_id=tenant_id, message_id=message_id))
    if isinstance(found, Refusal):
        return _none(found.refused)
    file = found.file
    if files.store is None or files.store.kind != file.store:
        away = f"it is kept in a {file.store}, and this router is not configured for one"
        return error_response(503, "store_away", away)
    try:
        place = await files.places.take({tenant_id: TENANT}, _WAIT)
    except TimeoutError:
        why = "too many files are being read at once: ask again soon"
        return error_response(503, "busy", why, {"Retry-After": "5"})
    with ExitStack() as stack:
        stack.callback(place.give_back)
        try:
            content = await files.store.read(file.name, file.bytes)
        except NoSuchFile:
            return _lost(file, caller)
        except StoreAway as error:
            return error_response(503, "store_away", str(error), {"Retry-After": "5"})
        told = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if told != file.sha256:
            return _lost(file, caller)
        answer = _download(content, file_name_of(message_id, file.media_type), file.media_type)
        return HeldAnswer(answer, stack.pop_all().close)  # counted until the client has read it


def _download(content: bytes, name: str, media_type: str) -> Response:
    return Response(
        content,
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )


def _none(reason: str) -> Response:
    return error_response(404, reason, _WHY.get(reason, "there is no file"))


def _lost(file: KeptFile, caller: str) -> Response:
    log_event(
        _log, Action.FILE_NOT_KEPT, f"a kept file is not as it was kept: {file.name}",
        level=logging.ERROR, file_id=file.file_id, caller=caller,
    )  # fmt: skip
    return _none("lost")
