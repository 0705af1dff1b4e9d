"""A flow's reports about its turn: began, done, fail, handoff, extend.

All take the header `apikey: <turn token>` and are safe to repeat. A token that is no longer valid
gets 409 with the reason. A crash inside a flow is reported by n8n's error workflow. It knows the
execution but not the turn, so it authenticates with the key that n8n and the router share.
"""

import logging
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Annotated, TypeVar

from fastapi import Header, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, field_validator

from router.errors import NotFound
from router.gate.refusals import said_of
from router.http.part import part
from router.logs.events import Action, log_event
from router.logs.scrubber import scrubbed
from router.n8n.addresses import editor_url
from router.n8n.dependencies import FlowServices, TheServices
from router.n8n.execution_ids import EXECUTION_ID
from router.n8n.failures_told import OF_THE_FLOW, FailureKind, Judged, is_of_a_key, judge_failure
from router.n8n.finishing import Done, Written, fail, finish, log_dead, log_replied
from router.n8n.flow_executions import WORKFLOW_ID, link_to
from router.n8n.flows import KEY_HEADER
from router.n8n.handing_off import call_human, texts_to_say
from router.state.calls.flows import (
    BeginFlow,
    ExtendTurn,
    HandedOff,
    TakeExecution,
    begin_flow,
    extend_turn,
    take_execution,
)
from router.state.calls.model import Answer, Held, Refusal
from router.state.calls.turns import TurnFailed, TurnFinished
from router.state.database import Database
from router.state.flow_tokens import TurnToken, read_token

router = part(
    "n8n",
    prefix="/n8n",
    responses={
        401: {"description": "X-N8N-API-Key is not N8N_API_KEY"},
        404: {"description": "The execution worked on no turn that is known"},
        409: {"description": "The token may not act any more: `code` says why"},
        413: {"description": "The body is too large"},
        422: {"description": "A value cannot be right"},
        503: {"description": "The database is away; try again soon"},
    },
)
_Answer = TypeVar("_Answer", bound=Answer)
_log = logging.getLogger(__name__)
_LONGEST_EXTENSION = 900.0
_WANTS_HUMAN = "the AI asked for a human"

_Key = Annotated[str, Header(alias=KEY_HEADER, description="N8N_API_KEY")]
_Execution = Annotated[str, Path(pattern=EXECUTION_ID, description="n8n's `$execution.id`")]
_Token = Annotated[str, Header(alias="apikey", description="The turn's token")]


class Began(BaseModel):
    """The flow has begun."""

    execution_id: str = Field(pattern=EXECUTION_ID, description="n8n's `$execution.id`, a number")
    workflow_id: str | None = Field(
        default=None, pattern=WORKFLOW_ID, description="n8n's `$workflow.id`, for a link to it"
    )


class Crash(BaseModel):
    """What n8n's Error Trigger reports about an execution."""

    error: str = Field(default="the execution failed without a message", max_length=10_000)
    node: str | None = Field(default=None, max_length=500)
    workflow_id: str | None = Field(default=None, pattern=WORKFLOW_ID)


class Failure(BaseModel):
    """The flow could not answer."""

    kind: FailureKind = "flow_error"
    error: str = Field(default="the flow failed without a message", max_length=10_000)
    retry_after: float | None = Field(default=None, ge=0, le=3600, strict=True)


class Handoff(BaseModel):
    """The AI asks for a human."""

    reason: Written = Field(default=_WANTS_HUMAN, max_length=500)
    summary: Written | None = Field(default=None, max_length=2000)
    say: Written | None = Field(
        default=None,
        max_length=4096,
        description="What the customer is told about it. Without it, the customer is sent the"
        " tenant's handoff_message, if the flow has sent nothing in this turn",
    )

    @field_validator("say")
    @classmethod
    def _is_for_people(cls, say: str | None) -> str | None:
        texts_to_say(say)
        return say


class Extension(BaseModel):
    """The flow needs more time, counted from now."""

    seconds: float = Field(default=60, gt=0, le=_LONGEST_EXTENSION, strict=True)


@router.post("/turns/{turn_id}/began", summary="Say which execution works on a turn")
async def began(services: TheServices, turn_id: int, token: _Token, body: Began) -> JSONResponse:
    """Note the execution, so that a crash of it can be assigned to the turn."""

    async def ask(database: Database, held: Held) -> Answer:
        url = link_to(editor_url(services.settings), body.workflow_id, body.execution_id)
        asked = BeginFlow(**held, execution_id=body.execution_id, execution_url=url)
        return await begin_flow(database, asked)

    return _answered(services, await _call(services, turn_id, token, ask))


@router.post("/executions/{execution_id}/fail", summary="Report that an execution crashed")
async def crash(
    services: TheServices, execution_id: _Execution, key: _Key, body: Crash | None = None
) -> JSONResponse:
    """End the attempt that the execution worked on. 404: no known turn had this execution."""
    settings = services.settings
    expected = settings.n8n_api_key
    if expected is None or not compare_digest(key.encode(), expected.get_secret_value().encode()):
        return _error(401, "unauthorized", f"the header {KEY_HEADER} must be N8N_API_KEY")
    told = body or Crash()
    where = f" in the node {told.node}" if told.node else ""
    error = scrubbed(f"flow_error{where}: {told.error}")
    url = link_to(editor_url(settings), told.workflow_id, execution_id)
    asked = TakeExecution(execution_id=execution_id)
    try:
        taken = await take_execution(services.database, asked)
    except NotFound:  # with the answer contract, n8n's response already reported the failure
        log_event(
            _log, Action.AI_FAILED, f"execution {execution_id} crashed{where}; it named no turn",
            execution_id=execution_id, execution_url=url,
        )  # fmt: skip
        raise
    answer: TurnFailed | Refusal
    if isinstance(taken, Refusal):  # the flow's answer arrived before, and the turn went on
        turn_id, answer = None, taken
    else:
        turn_id = taken.turn_id
        judged = _judge(services, turn_id, "flow_error", told.error)
        answer = await fail(services, taken.held, judged, error)
    log_event(
        _log, Action.AI_FAILED, f"execution {execution_id} crashed{where}",
        level=logging.INFO if turn_id is None else logging.WARNING,
        turn_id=turn_id, turn_state=answer.state if isinstance(answer, TurnFailed) else None,
        execution_id=execution_id, execution_url=url,
    )  # fmt: skip
    log_dead(turn_id, answer)
    if turn_id is None:
        return _answered(services, answer)
    services.wake_notices()
    await services.failing.turn_failed(turn_id, error)
    return _answered(services, answer, turn_id=turn_id)


@router.post("/turns/{turn_id}/done", summary="Close a turn")
async def done(
    services: TheServices, turn_id: int, token: _Token, body: Done | None = None
) -> JSONResponse:
    """Close the turn, also if the flow has sent nothing."""
    told = body or Done()

    async def ask(_: Database, held: Held) -> TurnFinished | Refusal:
        return await finish(services, turn_id, held, told)

    return _answered(services, await _call(services, turn_id, token, ask))


@router.post("/turns/{turn_id}/fail", summary="Report that a turn failed")
async def report_failure(
    services: TheServices, turn_id: int, token: _Token, body: Failure | None = None
) -> JSONResponse:
    """End the attempt. `kind` decides whether it is retried; what was sent is not repeated."""
    failure = body or Failure()
    judged = _judge(services, turn_id, failure.kind, failure.error)
    told = scrubbed(f"{failure.kind}: {failure.error}")
    of_a_key = is_of_a_key(failure.kind, failure.error)

    async def ask(_: Database, held: Held) -> TurnFailed | Refusal:
        return await fail(services, held, judged, told, failure.retry_after)

    answer = await _call(services, turn_id, token, ask)
    state = answer.state if isinstance(answer, TurnFailed) else None
    log_event(
        _log, Action.AI_FAILED, f"the flow reports {failure.kind}",
        level=logging.WARNING, turn_id=turn_id, turn_state=state,
    )  # fmt: skip
    log_dead(turn_id, answer)
    if not isinstance(answer, Refusal) and (failure.kind in OF_THE_FLOW or of_a_key):
        await services.failing.turn_failed(turn_id, told)
    return _answered(services, answer, told=told)


@router.post("/turns/{turn_id}/handoff", summary="Call a human")
async def hand_off(
    services: TheServices, turn_id: int, token: _Token, body: Handoff | None = None
) -> JSONResponse:
    """Tell the customer, pause the session with source `ai` and the reason, and close the turn."""
    told = body or Handoff()

    async def ask(_: Database, held: Held) -> HandedOff | Refusal:
        reason = told.reason.strip() or _WANTS_HUMAN
        return await call_human(services, held, reason, told.summary, texts_to_say(told.say))

    answer = await _call(services, turn_id, token, ask)
    if not isinstance(answer, Refusal):
        log_event(
            _log, Action.PAUSED, "paused: the AI asked for a human",
            turn_id=turn_id, session_id=answer.session_id, source="ai",
        )  # fmt: skip
        if answer.replied:
            log_replied(turn_id)
        services.wake_notices()
        await services.failing.turn_worked(turn_id)
    return _answered(services, answer)


@router.post("/turns/{turn_id}/extend", summary="Ask for more time")
async def extend(
    services: TheServices, turn_id: int, token: _Token, body: Extension | None = None
) -> JSONResponse:
    """Extend the lease to `seconds` from now."""
    seconds = (body or Extension()).seconds

    async def ask(database: Database, held: Held) -> Answer:
        return await extend_turn(database, ExtendTurn(**held, seconds=seconds))

    return _answered(services, await _call(services, turn_id, token, ask))


async def _call(
    services: FlowServices,
    turn_id: int,
    token: str,
    ask: Callable[[Database, Held], Awaitable[_Answer]],
) -> _Answer | Refusal:
    """Call the state for the attempt that the token belongs to, or refuse."""
    shown = read_token(token)
    if shown is None or shown.turn_id != turn_id:
        return Refusal(refused="unknown_token")
    return await ask(services.database, TurnToken(turn_id, shown.secret).held)


def _judge(services: FlowServices, turn_id: int, kind: FailureKind, error: str) -> Judged:
    """Return how the state is told of a failure; the other handler, if any, has its own LLM key."""
    judged = judge_failure(kind, error)
    is_of_the_key = is_of_a_key(kind, error) or (kind in OF_THE_FLOW and judged.away == "llm")
    if is_of_the_key and services.failing.gives_up(turn_id):
        return Judged("transient", judged.cause)
    return judged


def _answered(services: FlowServices, answer: Answer, **more: object) -> JSONResponse:
    if isinstance(answer, Refusal):
        return _error(409, answer.refused, f"nothing was done: {said_of(answer.refused)}")
    services.failing.breakers.heard_of()
    services.wake()
    return JSONResponse({**answer.as_told(), **more})


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
