"""The stream of changes: server-sent events of a tenant, for who shows it in a browser."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from router.api.dependencies import Identity, TenantId, TheDatabase
from router.api.keyed import keyed
from router.errors import TooManyOfThese
from router.feed import events
from router.feed.followers import Follower, Look
from router.feed.opening import Streams
from router.gate.cookies import sign_in_of
from router.gate.identity import CallerIdentity
from router.http.services import given
from router.sharing.at_once import TooManyAtOnce
from router.sharing.shares import TENANT
from router.state.calls.changes import Followed, FollowTenant, follow_tenant

router = keyed("sessions")

_Streams = Annotated[Streams, Depends(given(Streams))]
_LastEventId = Annotated[
    str | None,
    Header(description="The id of the last event that was taken in: nothing after it is missed"),
]
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_TOLD: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events: `ready`, `session`, `tenant`, `reset`, `end`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class EventStream(StreamingResponse):
    """Events until they end; then, however that comes, `ended` is called."""

    media_type = "text/event-stream"

    def __init__(self, follower: Follower, began: Followed, ended: Callable[[], None]) -> None:
        super().__init__(_told(follower, began), headers=_HEADERS)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell what there is to tell."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


@router.get(
    "/stream",
    summary="Follow what changes in a tenant, as server-sent events",
    response_class=StreamingResponse,
    responses=_TOLD,
)
async def follow_changes(
    tenant_id: TenantId,
    request: Request,
    caller: Identity,
    database: TheDatabase,
    streams: _Streams,
    last_event_id: _LastEventId = None,
) -> EventStream:
    """Ids and kinds only: what changed is read with the other calls. Open until it is closed.

    Begin to read after `ready`. With `Last-Event-ID` nothing that happened since is missed; after
    `reset` read all anew. `end` says why no more comes.
    """
    sign_in = sign_in_of(request.scope)
    ends = (caller.ends_at, None if sign_in is None else sign_in.ends_at)
    look = Look(
        tenant_id=tenant_id,
        claim=caller.claim,
        ends_at=min((each for each in ends if each is not None), default=None),
        sign_in=None if sign_in is None else sign_in.mark,
    )
    # Who has no right takes no place, and nothing is looked at for it.
    await follow_tenant(database, FollowTenant(tenant_id=tenant_id))
    with ExitStack() as stack:
        _take_place(stack, streams, caller, tenant_id)
        follower = await streams.feed.join(look)
        stack.callback(streams.feed.leave, follower)
        asked = FollowTenant(tenant_id=tenant_id, since=last_event_id)
        began = await follow_tenant(database, asked)
        return EventStream(follower, began, stack.pop_all().close)


def _take_place(stack: ExitStack, streams: Streams, caller: CallerIdentity, tenant_id: int) -> None:
    """Count one more stream. Raises TooManyOfThese."""
    try:
        stack.enter_context(streams.of_caller.taken(tuple(sorted(caller.claim.items()))))
    except TooManyAtOnce as error:
        most = streams.of_caller.most
        raise TooManyOfThese(f"{most} streams of this key are open: close one first") from error
    place = streams.places.take_now({tenant_id: TENANT})
    if place is None:
        raise TooManyOfThese("too many streams are open: close one, or try again later")
    stack.callback(place.give_back)


async def _told(follower: Follower, began: Followed) -> AsyncIterator[bytes]:
    """Give what was missed, and then what comes."""
    if began.lost:
        yield events.ready(began.position) + events.reset(began.position)
    else:
        missed = events.changes_as_events(began.changes, began.position)
        yield events.ready(began.position) + missed
    async for piece in follower.told():
        yield piece
