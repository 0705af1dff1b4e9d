"""Only one program does a thing on a data folder: `make run` plays there, n8n works there."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone(folder: Path, what: str = "demo") -> Iterator[bool]:
    """Give whether nobody else does `what` there, and keep others from it until the end.

    The system releases the lock if a process is killed; the file stays, and means nothing.
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


@contextmanager
def handed_on(folder: Path, what: str) -> Iterator[tuple[int, ...]]:
    """Give what lets a started program do `what` there while it runs.

    Nobody is `alone` there until it has ended, with all who got it from there, no matter who
    started it.
    """
    if sys.platform == "win32":
        yield ()
        return
    with (folder / f"{what}.lock").open("w") as file:
        with suppress(OSError):  # what is left of one before has it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield (file.fileno(),)
