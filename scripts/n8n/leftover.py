"""An n8n that a killed start left behind: its supervisor is still ending it, or was killed, too.

It holds the port, and works on a database that is about to be used or dropped: so it is waited for,
and killed where nobody else ends it any more.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.demo_business.alone import alone

_NOTE = "process"
_WAIT_SECONDS = 13.0  # longer than the supervisor's grace
_LOOK_SECONDS = 0.1


def note_process(folder: Path, pid: int) -> None:
    """Keep in n8n's folder which process it is, for a start after this one was killed."""
    (folder / _NOTE).write_text(f"{pid}\n")


def end_leftover(folder: Path, tell: Callable[[str], None], wait: float = _WAIT_SECONDS) -> None:
    """Return when no n8n of a start that is gone works in `folder`.

    One whose starter lives is no leftover: nothing is done to it.
    """
    if not (folder / _NOTE).exists():
        return
    with alone(folder, "running") as has_no_starter:
        pid = _noted(folder)
        if not has_no_starter or pid is None or not _works_in(folder, pid):
            return
        tell("Waiting for the n8n of the last start to end …")
        if not _ends(folder, pid, wait):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _ends(folder, pid, wait)


def _noted(folder: Path) -> int | None:
    try:
        return int((folder / _NOTE).read_text())
    except (OSError, ValueError):
        return None


def _ends(folder: Path, pid: int, within: float) -> bool:
    until = time.monotonic() + within
    while _works_in(folder, pid):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _works_in(folder: Path, pid: int) -> bool:
    """Whether the process is an n8n of that folder: another one may have its number by now.

    A system without /proc cannot tell, and then nothing is waited for or killed.
    """
    try:
        where = Path(f"/proc/{pid}/cwd").readlink()
        return where.is_relative_to(folder.resolve()) and os.getpgid(pid) == pid
    except OSError:
        return False
