"""Chooses the store that the configuration names."""

import logging

import httpx

from router.configuration.settings import Settings
from router.kept.bucket import BucketStore
from router.kept.folder import FolderStore
from router.kept.keeper import Keeper
from router.kept.keeping import Keeping
from router.kept.store import FileStore
from router.logs.events import Action, log_event
from router.state.database import Database

_log = logging.getLogger(__name__)


def make_store(settings: Settings, http: httpx.AsyncClient) -> FileStore | None:
    """Return the store; None if no files are kept. `http` calls the deployment's services."""
    if settings.media_folder is not None:
        folder = FolderStore(settings.media_folder)
        if not folder.is_there:
            log_event(
                _log, Action.FILE_NOT_KEPT,
                f"no file is kept: MEDIA_FOLDER ({settings.media_folder}) is not a folder; make it",
                level=logging.WARNING,
            )  # fmt: skip
        return folder
    url, key, bucket = (
        settings.supabase_url,
        settings.supabase_service_role_key,
        settings.media_bucket,
    )
    if bucket is None or url is None or key is None:  # the settings have checked all three
        return None
    return BucketStore(http, url, key, bucket)


def make_keeping(settings: Settings, database: Database, store: FileStore | None) -> Keeping | None:
    """Return what keeps files when they are fetched; None if no files are kept."""
    if store is None:
        return None
    return Keeping(database, store, settings.media_bytes_per_tenant)


def make_keeper(database: Database, store: FileStore | None) -> Keeper | None:
    """Return the loop that looks after kept files, not started; None if no files are kept."""
    return None if store is None else Keeper(database, store)
