"""How many inbound connections a process may have: as many as configured, and as files allow."""

import math
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

_FILES_FOR_OTHERS = 300  # the database, Evolution, LLMs, n8n, logs


def connections_for(wanted: int, files: float = math.inf) -> int:
    """Return how many connections are possible if a process may open this many files."""
    spare = files - _FILES_FOR_OTHERS
    return int(min(wanted, max(spare, files / 2)))


def open_files() -> float:
    """Return how many files the process may have open, after asking for all it can get."""
    if sys.platform == "win32":
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return math.inf if soft == resource.RLIM_INFINITY else soft
