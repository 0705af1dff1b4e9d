"""Rate limits, counted only in this process.

Several processes count separately. A limit that must hold for all of them together, such as a
budget, belongs to the state.
"""

import time
from collections.abc import Callable
from math import ceil

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

_PURGE_EVERY = 10.0  # seconds between looks for counters that have run out


class _Counters(Storage):
    """Counters in memory. The library's own start a thread at each hit, which walks all of them."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}
        self._purge_at = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock()
        self._purge(now)
        count, ends = self._counts.get(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + expiry
        self._counts[key] = (count + amount, ends)
        return count + amount

    def get(self, key: str) -> int:
        count, ends = self._counts.get(key, (0, 0.0))
        return count if ends > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        return self._counts.get(key, (0, self._clock()))[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        number = len(self._counts)
        self._counts.clear()
        return number

    def clear(self, key: str) -> None:
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)

    def _purge(self, now: float) -> None:
        if now >= self._purge_at:
            self._purge_at = now + _PURGE_EVERY
            self._counts = {key: each for key, each in self._counts.items() if each[1] > now}


def per_minute(number: int) -> RateLimitItem:
    """Return a limit of this many per minute."""
    return RateLimitItemPerMinute(number)


class Rates:
    """The counters of one process. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters = _Counters(clock)
        self._limiter = FixedWindowRateLimiter(self._counters)

    def exceeded(self, limit: RateLimitItem, *who: str) -> int | None:
        """Count one more. Return None, or, if it is too many, the whole seconds to wait."""
        if self._limiter.hit(limit, *who):
            return None
        ends = self._limiter.get_window_stats(limit, *who).reset_time
        return max(1, ceil(ends - self._clock()))

    def __len__(self) -> int:
        """How many counters there are."""
        return len(self._counters)
