"""One `make run` alone plays on a data folder: a second would take away what the first plays."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Give whether nobody else plays there, and keep others from it until the end.

    The system lets go of the lock where a process is killed; the file stays, and means nothing.
    """
    if sys.platform == "win32":
        yield True  # none is played there, see `wanted.py`
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
