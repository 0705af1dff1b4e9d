"""What tells changes, put together."""

from dataclasses import dataclass

from router.configuration.settings import Settings
from router.feed.feed import Feed
from router.feed.forgetting import Forgetting
from router.feed.rights import Rights
from router.sharing.at_once import AtOnce
from router.sharing.shares import Shares
from router.state.entrances import Entrances
from router.state.listening import can_hear

OF_ONE_CALLER = 100
"""Streams that one key or user may have open in a router."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What endpoints need to open one. `places` are all there are, `of_caller` counts each's."""

    feed: Feed
    rights: Rights
    forgetting: Forgetting
    places: Shares
    of_caller: AtOnce

    async def stop(self) -> None:
        """End all streams at once."""
        self.feed.stop()
        self.rights.stop()
        self.forgetting.stop()


def make_streams(settings: Settings, entrances: Entrances) -> Streams:
    """Return what tells changes of this state; half of all connections may be streams."""
    feed = Feed(entrances.feed, can_call=can_hear(entrances.feed.database))
    entrances.tell_of_calls(feed.changed)
    return Streams(
        feed=feed,
        rights=Rights(feed, entrances.feed),
        forgetting=Forgetting(entrances.feed),
        places=Shares(max(1, settings.max_connections // 2)),
        of_caller=AtOnce(OF_ONE_CALLER),
    )
