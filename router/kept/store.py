"""Where files are kept: what every store can do, and how it fails. Names are ours alone."""

import re
from typing import Literal, Protocol, TypeAlias

StoreKind: TypeAlias = Literal["folder", "bucket"]
_NAME = re.compile(r"[0-9]{1,19}/[0-9]{1,19}/[0-9]{1,19}-[0-9a-f]{16}")


class StoreAway(Exception):
    """The store cannot be asked now, or has no room: later it may."""


class StoreRefuses(StoreAway):
    """The store will never take this file."""


class NoSuchFile(Exception):
    """The store has no file of that name."""


class FileStore(Protocol):
    """A place for files. Each call may be made again: it ends the same."""

    kind: StoreKind

    async def write(self, name: str, content: bytes) -> None:
        """Have the file there, whole or not at all. Raises StoreAway."""

    async def read(self, name: str, most: int) -> bytes:
        """Return the file, of so many bytes at most. Raises NoSuchFile and StoreAway."""
        ...

    async def remove(self, name: str) -> None:
        """Have it there no more, nor what a crash left of it. Raises StoreAway."""


def checked(name: str) -> str:
    """Return the name: ids and chance, as SQL makes it. Raises StoreAway for any other."""
    if not _NAME.fullmatch(name):  # it would be the path of something else
        raise StoreAway("a name that HybridFlow never gives was stored as a file's")
    return name
