"""One program alone does a thing on a data folder: `make run` plays there, n8n works there."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone(folder: Path, what: str = "demo") -> Iterator[bool]:
    """Give whether nobody else does `what` there, and keep others from it until the end.

    The system lets go of the lock where a process is killed; the file stays, and means nothing.
    """
    if sys.platform == "win32":
        yield True  # no demo is played there, see `wanted.py`
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{what}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
