"""Places for sends: how many messages may be on their way to Evolution at once.

A send takes its place before it asks the fence, and waits only briefly for it. The connection pool
for sends has at least as many connections as there are places, so nothing waits between the fence
and the send: a human could write in that time. No tenant gets all places, however slow its server
is.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.sharing.shares import NOBODY, TENANT, Claims, Shares

_WAIT = 2.0


class NoPlace(Exception):
    """Too many sends are under way, and no place became free in time.

    Nothing was begun: the fence was not asked and nothing was sent, so trying again soon is
    harmless. This is not an error of Evolution, and says nothing about it.
    """


class SendPlaces:
    """A number of places, given in the order in which they are requested."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._shares = Shares(count)

    @asynccontextmanager
    async def taken(self, tenant: str | None = None, wait: float = _WAIT) -> AsyncIterator[None]:
        """Hold a place for the block. Raises NoPlace if none is free within `wait` seconds.

        NoPlace is also raised if the tenant has its share already. `tenant` None: it is unknown.
        """
        claims: Claims = NOBODY if tenant is None else {tenant: TENANT}
        try:
            place = await self._shares.take(claims, wait)
        except TimeoutError as error:
            raise NoPlace(f"of {self.count} places for sends none became free") from error
        try:
            yield
        finally:
            place.give_back()
