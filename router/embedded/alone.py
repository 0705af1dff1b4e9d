"""A lock so that only one program does a thing on a data folder: play the demo, run n8n."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def alone(folder: Path, what: str = "demo") -> Iterator[bool]:
    """Yield whether no other program does `what` there; until the end, no other program can.

    The system releases the lock if a process is killed. The file stays, but has no meaning.
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
    """Yield the lock's descriptor; a program that does `what` there must inherit it.

    No other program is `alone` there until every process that inherited it has ended.
    """
    if sys.platform == "win32":
        yield ()
        return
    with (folder / f"{what}.lock").open("w") as file:
        with suppress(OSError):  # a process that an earlier program left behind holds it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield (file.fileno(),)
