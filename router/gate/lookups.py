"""Credentials that only the database knows, looked up as seldom as possible.

Anybody can send a key or a token of the right form, and each costs a look-up. So few are looked up
at once, and addresses take turns. A valid one is not looked up again for a minute, an unknown one
not for some seconds. One that was valid before has its own turn, apart from others of its address.
What a valid credential may do is checked each time, when it is done.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from router.errors import StateError
from router.http.bodies import TooMuch
from router.sharing.at_once import TooManyAtOnce
from router.sharing.lanes import Lanes

_Noted = TypeVar("_Noted")
_MOST = 10_000  # of each that are remembered
_LIFE = 60.0  # seconds that a valid one is not looked up again
_REFUSED = 5.0  # and an unknown one
_PATIENCE = 10.0  # seconds until its turn comes


class Refused(StateError):
    """Nobody knows the credential: the database's answer about it."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A valid credential. `tenant_id` is its tenant, if it belongs to a single one."""

    tenant_id: int | None = None


class LookUps:
    """What is known of the credentials of one kind. `lanes` may be shared by several kinds."""

    def __init__(self, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Proven]] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def prove(self, shown: str, block: str, look: Callable[[], Awaitable[Proven]]) -> Proven:
        """Return whose the credential is, by `look` if that is not known.

        Raises Refused (as `look` does), TooMuch, and whatever else `look` raises.
        """
        known = self._recall(shown)
        if known is not None:
            return known
        lane = f"known {shown}" if shown in self._known else f"from {block}"
        try:
            async with self._lanes.turn(lane, _PATIENCE):
                known = self._recall(shown)  # somebody may have asked meanwhile
                return await self._look(shown, look) if known is None else known
        except TooManyAtOnce as error:
            message = "too many keys and tokens are being looked up: try again soon"
            raise TooMuch(503, "busy", message, 1) from error

    def forget(self, shown: str) -> None:
        """Look it up again the next time: it was refused elsewhere."""
        self._known.pop(shown, None)

    def _recall(self, shown: str) -> Proven | None:
        """Return the known valid credential, or None if nothing is known. Raises Refused."""
        now = self._clock()
        until, proven = self._known.get(shown, (0.0, None))
        if proven is not None and now < until:
            return proven
        until, why = self._refused.get(shown, (0.0, ""))
        if now < until:
            raise Refused(why)
        return None

    async def _look(self, shown: str, look: Callable[[], Awaitable[Proven]]) -> Proven:
        try:
            proven = await look()
        except Refused as refused:
            self._known.pop(shown, None)
            _note(self._refused, shown, (self._clock() + _REFUSED, str(refused)))
            raise
        self._refused.pop(shown, None)
        _note(self._known, shown, (self._clock() + _LIFE, proven))
        return proven


def _note(noted: OrderedDict[str, _Noted], shown: str, what: _Noted) -> None:
    noted[shown] = what
    noted.move_to_end(shown)
    while len(noted) > _MOST:
        noted.popitem(last=False)
