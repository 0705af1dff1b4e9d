"""Makes the services that report changes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from router.feed.feed import Feed
from router.feed.forgetting import Forgetting
from router.feed.neighbours import Neighbours
from router.feed.rights import Rights
from router.sharing.at_once import AtOnce
from router.sharing.shares import Shares
from router.state.entrances import Entrances

OF_ONE_CALLER = 100
"""The streams that one key or user may have open in a router."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What endpoints need to open a stream. `places` limits all, `of_caller` each caller's."""

    feed: Feed
    rights: Rights
    forgetting: Forgetting
    places: Shares
    of_caller: AtOnce

    def end(self) -> None:
        """End all streams at once, and accept no new ones."""
        self.feed.stop()
        self.rights.stop()
        self.forgetting.stop()

    async def stop(self) -> None:
        """End the streams at shutdown."""
        self.end()


@dataclass(frozen=True, slots=True)
class Hearing:
    """How this router hears of others; it recognises its own messages by `name`.

    `called` is used if it cannot listen: it is called when another router is full.
    """

    name: str
    can_listen: bool
    called: Callable[[], None]


def make_streams(entrances: Entrances, hearing: Hearing, connections: int) -> Streams:
    """Return the streams of this state's changes; they may take half of all connections."""
    neighbours = None
    if not hearing.can_listen:
        neighbours = Neighbours(
            entrances.feed, name=hearing.name, called=hearing.called, clock=time.monotonic
        )
    feed = Feed(entrances.feed, name=hearing.name, neighbours=neighbours)
    entrances.tell_of_calls(feed.changed)
    return Streams(
        feed=feed,
        rights=Rights(feed, entrances.feed),
        forgetting=Forgetting(entrances.feed),
        places=Shares(max(1, connections // 2)),
        of_caller=AtOnce(OF_ONE_CALLER),
    )
