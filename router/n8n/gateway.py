"""The fenced gateway: Evolution's own paths and bodies, for a flow with its turn's token.

A workflow sends as it would with Evolution, only with another base URL. Its requests pass the
fence, are recorded, and are sent with the tenant's key, which n8n never sees. A repeated request
gets the first answer again. A refusal of the fence is a 409 in Evolution's error format, with the
reason.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from fastapi import Request, Response

from router.gate.refusals import Refused
from router.http.part import part
from router.logs.events import bind_correlation
from router.n8n.dependencies import TheServices
from router.n8n.flow_request import FlowRequest
from router.n8n.notice_routes import send_notice
from router.n8n.requests import body_of, written_of
from router.sharing.shares import TENANT, Shares
from router.state.entrances import acts_for
from router.state.flow_tokens import read_notice_token

router = part(
    "n8n",
    prefix="/n8n/evolution",
    responses={
        201: {"description": "It was sent; as Evolution answers"},
        400: {"description": "What Evolution would refuse, or refused"},
        401: {"description": "The header apikey is not a turn's or a notice's token"},
        403: {"description": "Another contact or instance than the token's"},
        404: {"description": "The gateway has no such path"},
        409: {"description": "Not any more: `response.reason` says why"},
        413: {"description": "The body is too large"},
        422: {"description": "A value cannot be right"},
        503: {"description": "Not now: `response.reason` says what is away, or used up"},
    },
)
AT_ONCE = 8
"""Requests of one turn that are handled at once."""


@router.post(
    "/{group}/{method}/{instance}",
    summary="Evolution's API, behind the fence",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def call_evolution(
    request: Request, services: TheServices, group: str, method: str, instance: str
) -> Response:
    """Send for a turn or a notice. 201 as Evolution; 409: the fence refuses; 404 elsewhere."""
    path = f"{group}/{method}"
    try:
        if (notice := read_notice_token(request.headers.get("apikey", ""))) is not None:
            body = await body_of(request)
            tenant = acts_for() or "notices"  # the token's tenant, determined by the gate
            with _place(services.places, tenant):
                return await send_notice(services.outbox, notice, tenant, path, instance, body)
        call = await FlowRequest.open(request, services, instance)
        contact = services.hashes.in_log(call.turn.jids)
        correlation_id = call.turn.correlation_id or f"turn-{call.token.turn_id}"
        places = _place(services.places, f"tenant {call.turn.tenant_id}")
        with bind_correlation(correlation_id, contact), call.counted(), places:
            return await call.carry_out(path, await written_of(request))
    except Refused as refused:
        return refused.answer()


@contextmanager
def _place(places: Shares, tenant: Hashable) -> Iterator[None]:
    """Hold a place for the block; no tenant gets all of them. Raises Refused."""
    place = places.take_now({tenant: TENANT})
    if place is None:
        why = "too many requests of flows are being answered: try again soon"
        raise Refused(503, why, "busy")
    try:
        yield
    finally:
        place.give_back()
