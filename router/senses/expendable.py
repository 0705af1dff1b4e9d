"""What a program beside the router, one that has strangers' files in it, does for it first of all.

It comes last where the processor is wanted, it ends first where memory runs out, and it ends with
the router, whatever it is at: kill -9 lets nobody tidy up.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_NICE = 5
_TELL_WHEN_PARENT_DIES = 1  # PR_SET_PDEATHSIG


def be_expendable() -> None:
    """Be the first program to give way, as far as the system can do it.

    Where the system cannot tell that the router died, the end of the input ends this program.
    """
    os.nice(_NICE)
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_TELL_WHEN_PARENT_DIES, signal.SIGKILL)
    with suppress(OSError):  # only Linux has such a file: in a small container let it end us
        Path("/proc/self/oom_score_adj").write_text("1000")
