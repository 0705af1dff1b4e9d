"""Logs the database's own message about a failed call; responses never contain it.

While the database is away, every call fails with the same message, so it is not logged each time.
"""

import logging
import time
from collections.abc import Callable

from router.logs.events import Action, log_event
from router.logs.scrubber import scrubbed

_log = logging.getLogger(__name__)
_AGAIN_AFTER = 10.0  # seconds
_LONGEST = 300


class Sayings:
    """The last message, over one transport. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = ""
        self._told_at = 0.0

    def tell(self, function: str, said: str) -> None:
        """Log the database's message about a call, unless it has just been logged."""
        now = self._clock()
        if said == self._last and now - self._told_at < _AGAIN_AFTER:
            return
        self._last, self._told_at = said, now
        log_event(
            _log, Action.DATABASE_AWAY,
            f"{function}: the database said: {scrubbed(said)[:_LONGEST]}", level=logging.WARNING,
        )  # fmt: skip
