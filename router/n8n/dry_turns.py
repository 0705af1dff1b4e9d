"""The gateway and the callbacks of test turns; nothing leaves the router.

They accept and refuse the same requests as the real ones, and answer in the same way. What the flow
sends is recorded with the test turn. No Evolution, session or turn is involved, and the tokens are
valid only here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from uuid import uuid4

from fastapi import Header, Request
from fastapi.responses import JSONResponse

from router.gate.refusals import Refused, conflict, said_of
from router.http.errors import error_response
from router.http.part import part
from router.n8n.answers import as_evolution
from router.n8n.callbacks import Began, Extension, Failure, Handoff
from router.n8n.dependencies import FlowServices, TheServices
from router.n8n.dry_media import ALL_OF_THEM, require_media, still
from router.n8n.finishing import Done, done_of
from router.n8n.requests import understood, written_of
from router.n8n.whitelist import PRESENCE_PATH, Asked
from router.sending.outcomes import Sent
from router.sending.outgoing import Outgoing
from router.sharing.shares import TENANT
from router.state.calls.dry_turns import NoteDryTurn, note_dry_turn
from router.state.calls.model import Refusal
from router.state.entrances import acts_for
from router.state.flow_tokens import DryToken, read_dry_token

router = part(
    "n8n",
    prefix="/n8n/dry",
    responses={
        201: {"description": "It was written down; as Evolution answers"},
        400: {"description": "What the gateway would refuse"},
        401: {"description": "The header apikey is not a test turn's token"},
        403: {"description": "Another contact or instance than the test turn's"},
        409: {"description": "The test turn is over"},
        503: {"description": "Not now: `response.reason` says why"},
    },
)
DRY_JID = "15550100000@s.whatsapp.net"
"""The contact of a test turn: a number that nobody can have."""

_LONGEST_SHOWN = 4096  # characters of a text that are recorded
_Body = TypeVar("_Body", Done, Failure, Handoff)
_Token = Annotated[str, Header(alias="apikey", description="The test turn's token")]


@router.post(
    "/evolution/{group}/{method}/{instance}",
    summary="Evolution's API in a test turn: written down, not sent",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def note_send(
    request: Request, services: TheServices, group: str, method: str, instance: str
) -> JSONResponse:
    """Record what would be sent. 201 as from Evolution; refuses what the gateway refuses."""
    token = read_dry_token(request.headers.get("apikey", ""))
    if token is None:
        return Refused(401, "the header apikey must be the test turn's token", "token").answer()
    try:
        return await _noted(services, token, f"{group}/{method}", instance, request)
    except Refused as refused:
        return refused.answer()


async def _noted(
    services: FlowServices, token: DryToken, path: str, instance: str, request: Request
) -> JSONResponse:
    place = services.places.take_now({acts_for() or "dry turns": TENANT})
    if place is None:
        raise Refused(503, "too many requests of flows are being answered", "busy")
    try:
        written = await written_of(request)
        asked, messages = await _read(services, path, written)
        said = tuple(_shown(message) for message in messages)
        done = done_of(asked)
        ended = None if done is None else _ended("done", done)
        note = NoteDryTurn(**token.held, instance_name=instance, said=said, ended=ended)
        noted = await note_dry_turn(services.database, note)
        if isinstance(noted, Refusal):
            raise _refusal(noted.refused)
        if path == PRESENCE_PATH:
            presence = str(asked.body.get("presence") or "composing")
            return JSONResponse({"presence": presence}, status_code=201)
        sent = Sent(f"DRY{uuid4().hex[:17].upper()}", DRY_JID, body="", message_id=None)
        return as_evolution(sent, messages[-1])
    finally:
        place.give_back()


async def _read(
    services: FlowServices, path: str, written: bytes
) -> tuple[Asked, tuple[Outgoing, ...]]:
    """Return the request. All test turns share one seat of the bench. Raises Refused."""
    try:
        asked, messages = await services.bench.do(
            ALL_OF_THEM, lambda: understood(path, written, (DRY_JID,)), after_waiting=still
        )
        await require_media(services, asked, messages)
    except TimeoutError as error:
        raise Refused(503, "too many test turns are under way: try again", "busy") from error
    return asked, messages


@router.post("/turns/{dry_turn_id}/began", summary="Say which execution works on a test turn")
async def note_beginning(
    services: TheServices, dry_turn_id: int, token: _Token, _: Began
) -> JSONResponse:
    """Accept the report like the real callback; nothing is stored."""
    return await _reported(services, dry_turn_id, token)


@router.post("/turns/{dry_turn_id}/done", summary="Close a test turn")
async def note_done(
    services: TheServices, dry_turn_id: int, token: _Token, body: Done | None = None
) -> JSONResponse:
    """Note that the flow has said everything."""
    return await _reported(services, dry_turn_id, token, _ended("done", body or Done()))


@router.post("/turns/{dry_turn_id}/fail", summary="Report that a test turn failed")
async def note_failure(
    services: TheServices, dry_turn_id: int, token: _Token, body: Failure | None = None
) -> JSONResponse:
    """Note the failure. There is no retry: a test should show the failure."""
    return await _reported(services, dry_turn_id, token, _ended("fail", body or Failure()))


@router.post("/turns/{dry_turn_id}/handoff", summary="Call a human in a test turn")
async def note_handoff(
    services: TheServices, dry_turn_id: int, token: _Token, body: Handoff | None = None
) -> JSONResponse:
    """Note the handoff. Nobody is called, and nothing is paused."""
    return await _reported(services, dry_turn_id, token, _ended("handoff", body or Handoff()))


@router.post("/turns/{dry_turn_id}/extend", summary="Ask for more time in a test turn")
async def note_extension(
    services: TheServices, dry_turn_id: int, token: _Token, _: Extension | None = None
) -> JSONResponse:
    """Accept the report, but the test turn still ends at its own time."""
    return await _reported(services, dry_turn_id, token)


def _ended(how: Literal["done", "fail", "handoff"], told: _Body) -> dict[str, Any]:
    return {"how": how, **told.model_dump(mode="json", exclude_none=True)}


async def _reported(
    services: FlowServices, dry_turn_id: int, token: str, ended: dict[str, Any] | None = None
) -> JSONResponse:
    shown = read_dry_token(token)
    if shown is None or shown.dry_turn_id != dry_turn_id:
        return _not_done("unknown_token")
    noted = await note_dry_turn(services.database, NoteDryTurn(**shown.held, ended=ended))
    return _not_done(noted.refused) if isinstance(noted, Refusal) else JSONResponse({"ok": True})


def _not_done(reason: str) -> JSONResponse:
    return error_response(409, reason, f"nothing was done: {said_of(reason)}")


def _refusal(reason: str) -> Refused:
    if reason == "elsewhere":
        return Refused(403, "the test turn is of another instance", "instance")
    return conflict(reason)


def _shown(message: Outgoing) -> dict[str, Any]:
    """Return what is recorded of a message, with base64 and long texts cut."""
    return {"path": message.path, "body": shown_values(message.body)}


def shown_values(value: Any) -> Any:
    """Return a body for display, with long texts cut."""
    match value:
        case str() if len(value) > _LONGEST_SHOWN:
            return f"{value[:_LONGEST_SHOWN]}… ({len(value)} characters)"
        case Mapping():
            return {str(name): shown_values(inner) for name, inner in value.items()}
        case list() | tuple():
            return [shown_values(inner) for inner in value]
        case _:
            return value
