"""How many inbound connections a process may have: as configured, if it may open enough files."""

import math
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

_FILES_FOR_OTHERS = 300  # the database, Evolution, LLMs, n8n, logs


def connections_for(wanted: int, files: float = math.inf) -> int:
    """Return how many connections are possible for a process that may open this many files."""
    spare = files - _FILES_FOR_OTHERS
    return int(min(wanted, max(spare, files / 2)))


def open_files() -> float:
    """Raise the process's limit of open files as far as possible, and return it."""
    if sys.platform == "win32":
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return math.inf if soft == resource.RLIM_INFINITY else soft
