"""Limits how fast responses are read for one tenant.

A hostile server may answer every call with the longest response that is allowed. Reading, unpacking
and parsing these takes time from all tenants. So responses are counted by their cost, and a tenant
that has had much gets the rest more slowly. Small responses are not counted.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from router.outbound.answers import OF_A_VALUE
from router.outbound.bounds import LONGEST_ANSWER

_A_SECOND = 6 * 1024 * 1024
_AT_ONCE = 24 * 1024 * 1024
_SECONDS_A_RECORD = 4.0
_REMEMBERED = 1000
_NO_MARKS = bytes(character for character in range(256) if character not in b",[{")

Weigh = Callable[[bytes], int]


def weigh_values(piece: bytes) -> int:
    """Return the cost of a piece of JSON in bytes; each value in it adds a fixed number."""
    return len(piece) + OF_A_VALUE * len(piece.translate(None, _NO_MARKS))


@dataclass(frozen=True, slots=True)
class Rate:
    """How much may be read: a cost of `at_once`, then `a_second` more each second.

    `weigh` returns the cost of a piece.
    """

    a_second: float = _A_SECOND
    at_once: float = _AT_ONCE
    weigh: Weigh = weigh_values

    @classmethod
    def of_records(cls, most_media: int) -> "Rate":
        """Return a rate that allows one record with media, and soon a second one."""
        at_once = max(_AT_ONCE, LONGEST_ANSWER + most_media * 4 // 3)
        return cls(at_once / _SECONDS_A_RECORD, at_once)


class Pace:
    """What was read for each tenant recently. `clock` gives seconds."""

    def __init__(
        self, rate: Rate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate or Rate()
        self._clock = clock
        self._paid_at: dict[Hashable, float] = {}

    def count(self, who: Hashable, work: int) -> float:
        """Count what was read for a tenant; return for how many seconds it must wait."""
        now = self._clock()
        paid_at = max(self._paid_at.get(who, now), now) + work / self.rate.a_second
        self._paid_at[who] = paid_at
        if len(self._paid_at) > _REMEMBERED:
            self._paid_at = {each: at for each, at in self._paid_at.items() if at > now}
        return max(0.0, paid_at - now - self.rate.at_once / self.rate.a_second)
