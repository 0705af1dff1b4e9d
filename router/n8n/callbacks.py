"""What a flow reports of its turn: done, fail, handoff, extend.

All take the header `apikey: <turn token>` and are safe to repeat. A token that may not act any more
gets 409 with the reason.
"""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from router.logs import Action, log_event
from router.n8n.tokens import TurnToken, read_token
from router.settings import Settings
from router.state.database import Database, Json

router = APIRouter(prefix="/n8n/turns", tags=["n8n"])
_log = logging.getLogger(__name__)
_LONGEST_EXTENSION = 900.0

FailureKind = Literal[
    "llm_rate_limited",
    "llm_down",
    "llm_refused",
    "evolution_refused",
    "evolution_away",
    "not_on_whatsapp",
    "flow_error",
    "transient",
    "permanent",
]
_PERMANENT = frozenset({"llm_refused", "evolution_refused", "not_on_whatsapp", "permanent"})

_Token = Annotated[str, Header(alias="apikey", description="The turn's token")]


class Done(BaseModel):
    """The flow has said all it had to say, be it nothing."""

    reason: str | None = Field(default=None, max_length=200)


class Failure(BaseModel):
    """The flow could not answer."""

    kind: FailureKind = "flow_error"
    error: str = Field(default="the flow failed without a word", max_length=10_000)
    retry_after: float | None = Field(default=None, ge=0, le=3600)


class Handoff(BaseModel):
    """The AI asks for a human."""

    reason: str = Field(default="the AI asked for a human", max_length=500)
    summary: str | None = Field(default=None, max_length=2000)


class Extension(BaseModel):
    """The flow needs more time, from now on."""

    seconds: float = Field(default=60, gt=0, le=_LONGEST_EXTENSION)


@router.post("/{turn_id}/done", summary="Close a turn")
async def done(
    request: Request, turn_id: int, token: _Token, body: Done | None = None
) -> JSONResponse:
    """Close the turn, also when nothing needed saying."""
    reason = (body or Done()).reason
    answer = await _call(request, "finish_turn", turn_id, token, {"reason": reason})
    if "refused" not in answer:
        log_event(
            _log, Action.AI_REPLIED, "AI reply pipeline completed successfully", turn_id=turn_id
        )
    return _answered(request, answer)


@router.post("/{turn_id}/fail", summary="Report that a turn failed")
async def fail(
    request: Request, turn_id: int, token: _Token, body: Failure | None = None
) -> JSONResponse:
    """End the attempt: tried again or dead, by the kind; what was said already is not repeated."""
    failure = body or Failure()
    settings: Settings = request.app.state.settings
    answer = await _call(
        request,
        "fail_turn",
        turn_id,
        token,
        {
            "kind": "permanent" if failure.kind in _PERMANENT else "transient",
            "error": f"{failure.kind}: {failure.error}",
            "retry_after": failure.retry_after,
            "max_attempts": settings.turn_max_attempts,
            "base_seconds": settings.retry_base_seconds,
        },
    )
    log_event(
        _log, Action.AI_FAILED, f"the flow reports {failure.kind}",
        level=logging.WARNING, turn_id=turn_id, turn_state=answer.get("state"),
    )  # fmt: skip
    return _answered(request, answer)


@router.post("/{turn_id}/handoff", summary="Call a human")
async def hand_off(
    request: Request, turn_id: int, token: _Token, body: Handoff | None = None
) -> JSONResponse:
    """Pause the session with source `ai` and the reason, and close the turn."""
    answer = await _call(request, "hand_off", turn_id, token, (body or Handoff()).model_dump())
    if "refused" not in answer:
        log_event(
            _log, Action.PAUSED, "paused: the AI asked for a human",
            turn_id=turn_id, session_id=answer["session_id"], source="ai",
        )  # fmt: skip
    return _answered(request, answer)


@router.post("/{turn_id}/extend", summary="Ask for more time")
async def extend(
    request: Request, turn_id: int, token: _Token, body: Extension | None = None
) -> JSONResponse:
    """Lengthen the lease to so many seconds from now."""
    seconds = (body or Extension()).seconds
    return _answered(
        request, await _call(request, "extend_turn", turn_id, token, {"seconds": seconds})
    )


async def _call(request: Request, function: str, turn_id: int, token: str, argument: Json) -> Json:
    shown = read_token(token)
    if shown is None or shown.turn_id != turn_id:
        return {"refused": "unknown_token"}
    database: Database = request.app.state.database
    held = TurnToken(turn_id, shown.secret).held
    return await database.call(function, {**argument, **held})


def _answered(request: Request, answer: Json) -> JSONResponse:
    if "refused" in answer:
        message = f"nothing was done: {answer['refused']}"
        error = {"code": answer["refused"], "message": message}
        return JSONResponse({"error": error}, status_code=409)
    request.app.state.wake()
    return JSONResponse(answer)
