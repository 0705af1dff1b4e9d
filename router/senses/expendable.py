"""Makes a program that opens untrusted files expendable, as its first step.

The program gets the lowest CPU priority, is the first to be killed when memory runs out, and ends
together with the router, even after kill -9.
"""

import ctypes
import gc
import os
import signal
from contextlib import suppress
from pathlib import Path

from router import GC_THRESHOLD

_NICE = 5
_TELL_WHEN_PARENT_DIES = 1  # PR_SET_PDEATHSIG


def be_expendable() -> None:
    """Give way to all other programs, as far as the system supports that."""
    os.nice(_NICE)
    gc.set_threshold(*GC_THRESHOLD)  # its memory is limited
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_TELL_WHEN_PARENT_DIES, signal.SIGKILL)
    with suppress(OSError):  # only Linux: when memory runs out, kill this program first
        Path("/proc/self/oom_score_adj").write_text("1000")
