"""How fast answers may be read for one tenant: what it has read too fast, it waits for.

A server that means harm answers every call with as much as an answer may be. To read that, unpack
it and parse it takes the time of everybody; so it is counted by what it costs, and who has had much
is given the rest in its own time. A small answer is not even counted.
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
    """Return what a piece of JSON costs: each value in it as much as many bytes."""
    return len(piece) + OF_A_VALUE * len(piece.translate(None, _NO_MARKS))


@dataclass(frozen=True, slots=True)
class Rate:
    """So much `a_second`, after as much `at_once`; `weigh` says what a piece of an answer costs."""

    a_second: float = _A_SECOND
    at_once: float = _AT_ONCE
    weigh: Weigh = weigh_values

    @classmethod
    def of_records(cls, most_media: int) -> "Rate":
        """Return a rate at which a record that holds a media may come, and one more soon after."""
        at_once = max(_AT_ONCE, LONGEST_ANSWER + most_media * 4 // 3)
        return cls(at_once / _SECONDS_A_RECORD, at_once)


class Pace:
    """What each has read of late. `clock` gives seconds."""

    def __init__(
        self, rate: Rate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate or Rate()
        self._clock = clock
        self._paid_at: dict[Hashable, float] = {}

    def count(self, who: Hashable, work: int) -> float:
        """Note what was read for somebody; return for how many seconds nothing more may be."""
        now = self._clock()
        paid_at = max(self._paid_at.get(who, now), now) + work / self.rate.a_second
        self._paid_at[who] = paid_at
        if len(self._paid_at) > _REMEMBERED:
            self._paid_at = {each: at for each, at in self._paid_at.items() if at > now}
        return max(0.0, paid_at - now - self.rate.at_once / self.rate.a_second)
