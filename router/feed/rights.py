"""Checks every few seconds, once for all followers, whether they still have their rights.

After a key is revoked, a role removed, or a token or sign-in has expired, the streams end within
seconds. They also end if the check is impossible for some time.
"""

import time
from collections.abc import Callable, Mapping

import orjson

from router.feed.feed import Feed
from router.feed.followers import Follower
from router.running.loops import Loop
from router.state.calls.changes import MayFollow, may_follow
from router.state.database import Database

_APART = 3.0
_BELIEVED = 20.0  # seconds for which an answer is valid
_AT_ONCE = 500


class Rights:
    """Ends the streams of followers that have lost their rights."""

    def __init__(
        self, feed: Feed, database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._feed = feed
        self._database = database
        self._clock = clock
        self._known_at = clock()
        self._loop = Loop(self.step, pause=_APART, failed="who may look could not be told")

    async def run(self) -> None:
        """Check until `stop`."""
        await self._loop.run()

    def stop(self) -> None:
        """Stop checking."""
        self._loop.stop()

    async def step(self) -> float:
        """Check once. Return the seconds until the next time."""
        self._end_what_is_over()
        asked: dict[tuple[int, bytes], list[Follower]] = {}
        for each in self._feed.followers:
            asked.setdefault((each.look.tenant_id, _written(each.look.claim)), []).append(each)
        try:
            those = list(asked.values())
            for start in range(0, len(those), _AT_ONCE):
                await self._ask(those[start : start + _AT_ONCE])
        except Exception:
            if self._clock() > self._known_at + _BELIEVED:
                for each in self._feed.followers:
                    each.end("again")
            raise
        self._known_at = self._clock()
        return _APART

    async def _ask(self, those: list[list[Follower]]) -> None:
        asked = MayFollow(
            followers=tuple(
                {"caller": alike[0].look.claim, "tenant_id": alike[0].look.tenant_id}
                for alike in those
            )
        )
        for ended in (await may_follow(self._database, asked)).ended:
            for each in those[ended.place]:
                each.end("not_allowed")

    def _end_what_is_over(self) -> None:
        now = self._clock()
        for each in self._feed.followers:
            if each.look.ends_at is not None and each.look.ends_at <= now:
                each.end("signed_out")


def _written(claim: Mapping[str, object]) -> bytes:
    return orjson.dumps(claim, option=orjson.OPT_SORT_KEYS)
