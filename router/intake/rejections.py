"""Logs rejected webhooks: the first of each kind at once, of the others only their number.

Anybody can send thousands a second. They must neither fill the log nor hide an important line.
"""

import asyncio
import logging
from collections import Counter

from router.logs.events import Action, log_event
from router.logs.scrubber import scrubbed

_log = logging.getLogger(__name__)
_WINDOW = 10.0  # seconds
_MOST_LINES = 20  # in one window


class Rejected(Exception):
    """The webhook is refused with this status and code; nothing was recorded."""

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = 5 if status == 503 and retry_after is None else retry_after


class Rejections:
    """Writes one line per instance and code in ten seconds, and the number of the others."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self._untold: Counter[str] = Counter()
        self._ends: asyncio.TimerHandle | None = None

    def note(self, rejected: Rejected, instance: str) -> None:
        """Log a rejection, or count it."""
        if self._ends is None:
            self._ends = asyncio.get_running_loop().call_later(_WINDOW, self.tell)
        kind = (instance[:200], rejected.code)
        if kind in self._seen or len(self._seen) >= _MOST_LINES:
            self._untold[rejected.code] += 1
            return
        self._seen.add(kind)
        log_event(
            _log,
            Action.WEBHOOK_REJECTED,
            str(rejected),
            level=logging.WARNING,
            instance=scrubbed(instance[:200]),  # it may be anything: the caller is not proven
            status=rejected.status,
        )

    def tell(self) -> None:
        """Log how many were only counted, and count from zero again."""
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
        for code, count in self._untold.items():
            log_event(
                _log,
                Action.WEBHOOK_REJECTED,
                f"{count} more webhooks were rejected: {code}",
                level=logging.WARNING,
                code=code,
                count=count,
            )
        self._seen.clear()
        self._untold.clear()
