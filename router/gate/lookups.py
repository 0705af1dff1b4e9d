"""Looks up credentials that only the database knows, as rarely as possible.

Anybody can send a key or a token of the right form, and each costs a look-up. So there are few
look-ups at once, and addresses take turns. A valid credential is not looked up again for a minute,
an unknown one not for some seconds. A credential that was valid before has a turn of its own, apart
from others of its address. What a valid credential allows is checked at each use.
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
_MOST = 10_000  # remembered credentials, valid and unknown each
_LIFE = 60.0  # seconds for which a valid credential is not looked up again
_REFUSED = 5.0  # the same for an unknown one
_PATIENCE = 10.0  # seconds to wait for the turn of a look-up


class Refused(StateError):
    """The database does not know the credential; this is its answer."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A valid credential. `tenant_id` is its tenant, if it belongs to a single one."""

    tenant_id: int | None = None


class LookUps:
    """What is known about credentials of one kind. Several kinds may share `lanes`."""

    def __init__(self, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Proven]] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def prove(self, shown: str, block: str, look: Callable[[], Awaitable[Proven]]) -> Proven:
        """Return the owner of the credential; call `look` if it is not known.

        Raises Refused (as `look` does), TooMuch, and whatever else `look` raises.
        """
        known = self._recall(shown)
        if known is not None:
            return known
        lane = f"known {shown}" if shown in self._known else f"from {block}"
        try:
            async with self._lanes.turn(lane, _PATIENCE):
                known = self._recall(shown)  # another call may have looked it up meanwhile
                return await self._look(shown, look) if known is None else known
        except TooManyAtOnce as error:
            message = "too many keys and tokens are being looked up: try again soon"
            raise TooMuch(503, "busy", message, 1) from error

    def forget(self, shown: str) -> None:
        """Look the credential up again the next time, because it was refused elsewhere."""
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
