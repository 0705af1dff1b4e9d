"""The stream of changes: server-sent events of a tenant, for a page in a browser."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from starlette.responses import StreamingResponse

from router.api.dependencies import Identity, TenantId, TheDatabase
from router.api.keyed import keyed
from router.feed.followers import Look
from router.feed.following import EventStream, follow
from router.feed.opening import Streams
from router.gate.cookies import sign_in_of
from router.http.services import given
from router.state.calls.changes import FollowTenant, follow_tenant

router = keyed("sessions")

_Streams = Annotated[Streams, Depends(given(Streams))]
_LastEventId = Annotated[
    str | None,
    Header(description="The id of the last event that you handled: nothing after it is missed"),
]
_TOLD: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events: `ready`, `session`, `tenant`, `reset`, `end`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


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
    """Ids and kinds only; read what changed with the other calls. Open until one side closes it.

    Start reading after `ready`. With `Last-Event-ID` you miss nothing that happened since; after
    `reset` read everything again. `end` says why the stream ends.
    """
    sign_in = sign_in_of(request.scope)
    ends = (caller.ends_at, None if sign_in is None else sign_in.ends_at)
    look = Look(
        tenant_id=tenant_id,
        claim=caller.claim,
        ends_at=min((each for each in ends if each is not None), default=None),
        sign_in=None if sign_in is None else sign_in.mark,
    )
    asked = FollowTenant(tenant_id=tenant_id, since=last_event_id)
    return await follow(streams, look, partial(follow_tenant, database, asked))
