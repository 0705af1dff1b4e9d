"""The response to a new follower: it takes a place, gets what it missed, then what changes.

A follower that stops reading, or loses its rights, has some seconds to read the rest. Then its
connection is cut, so that it does not keep a place or delay the server's shutdown.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from router.errors import TooManyOfThese
from router.feed import events
from router.feed.followers import Follower, Look
from router.feed.opening import Streams
from router.http.cutting import can_cut, cut, cut_and_see
from router.sharing.at_once import TooManyAtOnce
from router.sharing.shares import TENANT
from router.state.calls.changes import Followed

_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STANDS_STILL: Final = 20.0  # seconds that sending one piece may take
_LAST_WORDS: Final = 5.0  # seconds for the rest, when the stream is over


class EventStream(StreamingResponse):
    """A response of events; when it ends, for any reason, `ended` is called."""

    media_type = "text/event-stream"

    def __init__(self, follower: Follower, began: Followed, ended: Callable[[], None]) -> None:
        super().__init__(_told(follower, began), headers=_HEADERS)
        self._follower = follower
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, as long as the client reads them."""
        loop = asyncio.get_running_loop()
        if can_cut(scope):
            self.headers["Connection"] = "close"  # no other call uses it, so it may be cut

        async def sent(message: Message) -> None:
            late = loop.call_later(_STANDS_STILL, self._follower.end, "too_slow")
            try:
                await send(message)
            finally:
                late.cancel()

        try:
            async with asyncio.timeout(None) as bound:
                self._follower.when_over(lambda: bound.reschedule(loop.time() + _LAST_WORDS))
                await super().__call__(scope, receive, sent)
            loop.call_later(_LAST_WORDS, cut, scope)  # the server would wait until it is read
        except TimeoutError:
            await cut_and_see(scope, receive)
        finally:
            self._ended()


async def follow(
    streams: Streams, look: Look, read: Callable[[], Awaitable[Followed]]
) -> EventStream:
    """Return the stream of a follower; `read` returns what it missed, and whether it may follow.

    Raises TooManyOfThese, FeedAway, and what `read` raises.
    """
    await read()  # first, so that a caller without the right takes no place and starts no reading
    with ExitStack() as stack:
        _take_place(stack, streams, look)
        follower = await streams.feed.join(look)
        stack.callback(streams.feed.leave, follower)
        return EventStream(follower, await read(), stack.pop_all().close)


def _take_place(stack: ExitStack, streams: Streams, look: Look) -> None:
    """Count one more stream. Raises TooManyOfThese."""
    try:
        stack.enter_context(streams.of_caller.taken(tuple(sorted(look.claim.items()))))
    except TooManyAtOnce as error:
        most = streams.of_caller.most
        raise TooManyOfThese(f"{most} streams of this key are open: close one first") from error
    place = streams.places.take_now({look.tenant_id: TENANT})
    if place is None:
        raise TooManyOfThese("too many streams are open: close one, or try again later")
    stack.callback(place.give_back)


async def _told(follower: Follower, began: Followed) -> AsyncIterator[bytes]:
    """Yield what was missed, then what changes."""
    if began.lost:
        yield events.ready(began.position) + events.reset(began.position)
    else:
        missed = events.changes_as_events(began.changes, began.position)
        yield events.ready(began.position) + missed
    async for piece in follower.told():
        yield piece
