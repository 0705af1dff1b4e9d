"""Credentials that only the database knows, asked for no oftener than need be.

Anybody can show a key or a token of the right form, and each costs a look-up. So few are looked up
at once, each address in its turn; what was right is not asked for again for a minute, and what
nobody knows not for some seconds. What was right before has a turn of its own, apart from what else
comes from its address. What a right credential may do is judged as it is done, each time.
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
_LIFE = 60.0  # seconds that what is right is not asked for again
_REFUSED = 5.0  # and what is not known
_PATIENCE = 10.0  # seconds until its turn comes


class Refused(StateError):
    """Nobody knows the credential: what the database says of it."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A right credential. `tenant_id` is whose it is, where it is one tenant's."""

    tenant_id: int | None = None


class LookUps:
    """What is known of the credentials of one kind. `lanes` may be those of several kinds."""

    def __init__(self, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Proven]] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def prove(self, shown: str, block: str, look: Callable[[], Awaitable[Proven]]) -> Proven:
        """Return whose the credential is, by `look` where that is not known.

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
        """Ask again when this comes again: it was refused elsewhere."""
        self._known.pop(shown, None)

    def _recall(self, shown: str) -> Proven | None:
        """Return what is known to be right now, None where nothing is known. Raises Refused."""
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
