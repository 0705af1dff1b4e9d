"""Ends an n8n that a killed start left behind: its supervisor is still ending it, or was killed.

Such an n8n holds the port, and uses a database that is about to be used or dropped. So the start
waits for its end, and kills it if nothing else ends it. It is recognised by a lock that it holds
while it runs. Every system has locks and releases them however the process ends; a process number
may belong to another process by now.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from router.embedded.alone import alone, handed_on

_NOTE = "process"
_WORKS = "working"
_WAIT_SECONDS = 13.0  # longer than the supervisor's grace
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Processes:
    """The process numbers of an n8n and its supervisor."""

    supervisor: int
    n8n: int


def works_in(folder: Path) -> AbstractContextManager[tuple[int, ...]]:
    """Yield the lock that an n8n in this folder inherits, and by which it is recognised."""
    return handed_on(folder, _WORKS)


def note_processes(folder: Path, supervisor: int, n8n: int) -> None:
    """Store the process numbers in n8n's folder, in case this start is killed."""
    (folder / _NOTE).write_text(f"{supervisor} {n8n}\n")


def end_leftover(folder: Path, tell: Callable[[str], None], wait: float = _WAIT_SECONDS) -> None:
    """Wait until no n8n of a start that has ended works in `folder`; kill it if necessary.

    An n8n whose start still runs is left alone.
    """
    if not (folder / _NOTE).exists():
        return
    with alone(folder, "running") as has_no_starter:
        if not has_no_starter or not _is_worked_in(folder):
            return
        tell("Waiting for the n8n of the last start to end …")
        noted = _noted(folder)
        if noted is None:
            _ends(folder, wait)
        elif not _is_there(noted.supervisor) or not _ends(folder, wait):
            with suppress(ProcessLookupError):
                os.killpg(noted.n8n, signal.SIGKILL)
            _ends(folder, wait)


def _noted(folder: Path) -> _Processes | None:
    try:
        supervisor, n8n = map(int, (folder / _NOTE).read_text().split())
    except (OSError, ValueError):
        return None
    return _Processes(supervisor, n8n)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # then it is another user's process
        return False
    return True


def _ends(folder: Path, within: float) -> bool:
    until = time.monotonic() + within
    while _is_worked_in(folder):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _is_worked_in(folder: Path) -> bool:
    with alone(folder, _WORKS) as nobody_is:
        return not nobody_is
