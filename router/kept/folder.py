"""Files in a folder, local or shared: each is stored whole, or not at all."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from router.kept.store import NoSuchFile, StoreAway, StoreKind, checked

_T = TypeVar("_T")
_HALF = ".part"


class FolderStore:
    """A folder that only this user may read.

    The folder is never created here. If its disk is not mounted, a new folder would hide that, and
    files deleted meanwhile would still be on the disk.
    """

    kind: StoreKind = "folder"

    def __init__(self, root: Path) -> None:
        self._root = root

    async def write(self, name: str, content: bytes) -> None:
        """See FileStore. A written file survives a power cut."""
        await _in_thread(lambda: self._write(checked(name), content))

    async def read(self, name: str, most: int) -> bytes:
        """See FileStore."""
        return await _in_thread(lambda: self._read(checked(name), most))

    async def remove(self, name: str) -> None:
        """See FileStore."""
        await _in_thread(lambda: self._remove(checked(name)))

    @property
    def is_there(self) -> bool:
        """Whether there is such a folder."""
        return self._root.is_dir()

    def _require_root(self) -> None:
        if not self.is_there:
            raise StoreAway("MEDIA_FOLDER is not there: make it, or mount its disk")

    def _write(self, name: str, content: bytes) -> None:
        self._require_root()
        path = self._root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = path.with_name(path.name + _HALF)
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
            _sync_folder(path.parent)
        except OSError:
            with suppress(OSError):  # otherwise the full disk would have no room for the next file
                half.unlink(missing_ok=True)
            raise

    def _read(self, name: str, most: int) -> bytes:
        try:
            with (self._root / name).open("rb") as file:
                content = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            self._require_root()
            raise NoSuchFile(name) from error
        if len(content) > most:
            raise NoSuchFile(name)
        return content

    def _remove(self, name: str) -> None:
        path = self._root / name
        self._require_root()
        for each in (path, path.with_name(path.name + _HALF)):
            with suppress(FileNotFoundError, NotADirectoryError):
                each.unlink()
        for folder in (path.parent, path.parent.parent):
            with suppress(OSError):  # it may contain other files
                folder.rmdir()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _in_thread(work: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StoreAway(f"MEDIA_FOLDER cannot be used: {why}") from error
