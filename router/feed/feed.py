"""Reads a router's changes once for all followers, and sends them to each.

It reads only while there are followers. It is woken by this router's own calls of the state, and by
other routers' notifications (NOTIFY), if it can listen. All other changes, and those over
PostgREST, are found by polling each half second. If routers cannot listen, their messages to one
another are rows among the changes, and are read with them (`neighbours`). It reads at most four
times a second, and sends changes that were read together in one piece: a thousand followers cost a
thousand writes each time.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from router.errors import DatabaseAway
from router.feed import events
from router.feed.followers import Follower, Look
from router.feed.neighbours import Neighbours
from router.running.loops import Loop
from router.state.calls.changes import (
    CallFollowers,
    Change,
    Changes,
    ReadChanges,
    call_followers,
    read_changes,
)
from router.state.database import Database

_APART = 0.25  # minimum seconds between two reads
_POLL = 0.5  # maximum seconds, while there are followers
_IDLE = 60.0
_AFTER_A_FAULT = 2.0
_BETWEEN_BEATS = 15.0
_BETWEEN_SAYING_SO = 10.0  # seconds between two messages that this router has followers
_BELIEVED = 25.0  # seconds for which such a message of another router is valid
_JOINING = 15.0  # seconds until the first read for a new follower must be done


class FeedAway(DatabaseAway):
    """Changes cannot be reported now: they could not be read, or the router stops."""


class Feed:
    """Reads changes, and sends them to the followers."""

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        neighbours: Neighbours | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is this router's. `neighbours` is used if routers cannot listen."""
        self._database = database
        self._neighbours = neighbours
        self._clock = clock
        self._me = name
        self._followers: dict[int, set[Follower]] = {}
        self._position: str | None = None
        self._may_have_changed = False
        self._looked_at = self._said_at = float("-inf")
        self._beat_at = clock()
        self._others_until = float("-inf")
        self._loop = Loop(self.step, pause=_AFTER_A_FAULT, failed="changes could not be read")

    @property
    def followers(self) -> list[Follower]:
        """All followers."""
        return [each for those in self._followers.values() for each in those]

    # --- followers

    async def join(self, look: Look) -> Follower:
        """Add a follower: it gets all changes that happen after this call.

        Raises FeedAway. The caller must call `leave` at the end.
        """
        follower = Follower(look)
        if self._loop.is_stopping:
            raise FeedAway("the router stops: try again soon")
        self._followers.setdefault(look.tenant_id, set()).add(follower)
        self._loop.wake()
        try:
            async with asyncio.timeout(_JOINING):
                await follower.joined.wait()
        except BaseException as error:
            self.leave(follower)
            if isinstance(error, TimeoutError):
                raise FeedAway("changes cannot be read now: try again soon") from error
            raise
        return follower

    def leave(self, follower: Follower) -> None:
        """Remove the follower."""
        those = self._followers.get(follower.look.tenant_id)
        if those is not None:
            those.discard(follower)
            if not those:
                del self._followers[follower.look.tenant_id]

    def sign_out(self, sign_in: str) -> None:
        """End the streams of a browser that signed out."""
        for follower in self.followers:
            if follower.look.sign_in == sign_in:
                follower.end("signed_out")

    # --- what wakes the feed

    def changed(self) -> None:
        """Read soon: a call of this router may have changed something."""
        others = self._clock() < self._others_until
        if others:
            self._may_have_changed = True
        if others or self._followers:
            self._loop.wake()

    def hear(self, said: str) -> None:
        """Handle a notification of another router, or of this one."""
        says, _, by = said.partition(" ")
        if by == self._me:
            return
        if says == "follows":
            self._others_until = self._clock() + _BELIEVED
        elif self._followers:
            self._loop.wake()

    # --- the loop

    async def run(self) -> None:
        """Read and send until `stop`."""
        await self._loop.run()

    def stop(self) -> None:
        """End all streams at once, and read nothing more."""
        self._loop.stop()
        for follower in self.followers:
            follower.end("stopping")

    async def step(self) -> float:
        """Read once. Return the seconds until the next read."""
        if (wait := self._looked_at + _APART - self._clock()) > 0:
            await asyncio.sleep(wait)
        self._looked_at = self._clock()
        if self._may_have_changed:
            self._may_have_changed = False
            await self._say("changed")
        if self._neighbours is not None:
            await self._neighbours.greet()
        elif not self._followers:
            self._position = None
            return _IDLE
        elif self._clock() >= self._said_at + _BETWEEN_SAYING_SO:
            self._said_at = self._clock()
            await self._say("follows")
        await self._look()
        self._beat()
        return _POLL if self._followers or self._neighbours is None else self._neighbours.pace

    async def _look(self) -> None:
        here = self.followers
        known = {each for each in here if each.joined.is_set()}
        asked = ReadChanges(tenant_ids=tuple(sorted(self._followers)), since=self._position)
        read = await read_changes(self._database, asked)
        self._position = read.position
        if read.lost:
            self._tell_lost(known, read.position)
        else:
            self._tell(known, read)
        for each in here:
            each.joined.set()

    def _tell(self, known: set[Follower], read: Changes) -> None:
        of_tenants: dict[int, list[Change]] = defaultdict(list)
        for change in read.changes:
            if change.sign_in is not None:
                self.sign_out(change.sign_in)
            elif change.tenant_id is not None:
                of_tenants[change.tenant_id].append(change)
            elif self._neighbours is not None:
                self._neighbours.hear(change)
        told = {
            tenant_id: events.changes_as_events(changes, read.position)
            for tenant_id, changes in of_tenants.items()
        } | dict.fromkeys(read.lost_tenants, events.reset(read.position))
        for tenant_id, piece in told.items():
            those = [each for each in self._followers.get(tenant_id, ()) if each in known]
            self._tell_each(those, piece, read.position)

    def _tell_lost(self, known: set[Follower], position: str) -> None:
        """Make all clients read everything again; browsers must also send their sign-in again."""
        if self._neighbours is not None:
            self._neighbours.miss()
        for each in known:
            if each.look.sign_in is None:
                each.tell(events.reset(position), position)
            else:
                each.end("again", events.reset(position))

    def _beat(self) -> None:
        now = self._clock()
        if self._position is not None and now >= self._beat_at + _BETWEEN_BEATS:
            self._beat_at = now
            self._tell_each(self.followers, events.BEAT, self._position)

    def _tell_each(self, those: Sequence[Follower], piece: bytes, position: str) -> None:
        for each in those:
            each.tell(piece, position)

    async def _say(self, word: Literal["changed", "follows"]) -> None:
        if self._neighbours is None:
            await call_followers(self._database, CallFollowers(says=word, by=self._me))
