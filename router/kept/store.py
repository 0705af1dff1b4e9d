"""What every store of files can do, and how it fails. File names are always made by us."""

import re
from typing import Literal, Protocol, TypeAlias

StoreKind: TypeAlias = Literal["folder", "bucket"]
_NAME = re.compile(r"[0-9]{1,19}/[0-9]{1,19}/[0-9]{1,19}-[0-9a-f]{16}")


class StoreAway(Exception):
    """The store cannot be used now, or is full; it may work later."""


class StoreRefuses(StoreAway):
    """The store will never take this file."""


class NoSuchFile(Exception):
    """The store has no file of that name."""


class FileStore(Protocol):
    """A place for files. Each call can be repeated safely."""

    kind: StoreKind

    async def write(self, name: str, content: bytes) -> None:
        """Store the file, whole or not at all. Raises StoreAway."""

    async def read(self, name: str, most: int) -> bytes:
        """Return the file, if it has at most `most` bytes. Raises NoSuchFile and StoreAway."""
        ...

    async def remove(self, name: str) -> None:
        """Delete the file, and what a crash may have left of it. Raises StoreAway."""


def checked(name: str) -> str:
    """Return the name if it looks like SQL's (ids and random characters). Else raises StoreAway."""
    if not _NAME.fullmatch(name):  # it could be the path of another file
        raise StoreAway("a name that HybridFlow never gives was stored as a file's")
    return name
