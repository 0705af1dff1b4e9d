"""Where files are kept: what every store can do, and how it fails. Names are only ours."""

import re
from typing import Literal, Protocol, TypeAlias

StoreKind: TypeAlias = Literal["folder", "bucket"]
_NAME = re.compile(r"[0-9]{1,19}/[0-9]{1,19}/[0-9]{1,19}-[0-9a-f]{16}")


class StoreAway(Exception):
    """The store cannot be used now, or has no room; it may work later."""


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
        """Return the file, of at most this many bytes. Raises NoSuchFile and StoreAway."""
        ...

    async def remove(self, name: str) -> None:
        """Delete it, and what a crash left of it. Raises StoreAway."""


def checked(name: str) -> str:
    """Return the name: ids and random characters, as SQL makes it. Raises StoreAway for others."""
    if not _NAME.fullmatch(name):  # it would be the path of something else
        raise StoreAway("a name that HybridFlow never gives was stored as a file's")
    return name
