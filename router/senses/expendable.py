"""What a program beside the router that opens strangers' files does first of all.

It makes itself last in line for the processor and first to end when memory runs out, and it ends
with the router, whatever it is doing: kill -9 lets nobody tidy up.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_NICE = 5
_TELL_WHEN_PARENT_DIES = 1  # PR_SET_PDEATHSIG


def be_expendable() -> None:
    """Be the first program to give way, as far as the system can do it."""
    os.nice(_NICE)
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_TELL_WHEN_PARENT_DIES, signal.SIGKILL)
    with suppress(OSError):  # only Linux has such a file: in a small container let it end us
        Path("/proc/self/oom_score_adj").write_text("1000")
