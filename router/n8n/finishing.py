"""Ends a turn when its flow reports that it is done: by a callback, or with its last send."""

import logging
from typing import Annotated, TypedDict

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from router.configuration.settings import Settings
from router.gate.refusals import Refused
from router.llm.reasoning import without_reasoning
from router.logs.events import Action, log_event
from router.n8n.dependencies import FlowServices
from router.n8n.failures_told import OF_THE_LINE, Judged
from router.n8n.handing_off import words_of_flow
from router.n8n.whitelist import Asked
from router.sending.fallback_message import say_fallback
from router.sending.speakers import Failing
from router.state.calls.flows import LookAtTurn, look_at_turn
from router.state.calls.model import Held, Refusal
from router.state.calls.safety import RefuseReply, refuse_reply
from router.state.calls.turns import (
    FailTurn,
    FinishTurn,
    TurnFailed,
    TurnFinished,
    fail_turn,
    finish_turn,
)

_log = logging.getLogger(__name__)
_NOT_SENT = "flow_error: the flow is done, and nothing of what it sent has left"

Written = Annotated[str, AfterValidator(without_reasoning)]
"""A model's text without its thoughts, because people will read it."""


class Done(BaseModel):
    """The flow has said everything (maybe nothing). It may report what that cost."""

    reason: Written | None = Field(default=None, max_length=200)
    provider: str | None = Field(default=None, max_length=100)
    model: str | None = Field(default=None, max_length=200)
    tokens_in: int | None = Field(default=None, ge=0, le=100_000_000)
    tokens_out: int | None = Field(default=None, ge=0, le=100_000_000)


def done_of(asked: Asked) -> Done | None:
    """Return the report of the turn's end in a send, or None if it has none. Raises Refused."""
    if asked.done is None:
        return None
    try:
        return Done.model_validate(asked.done)
    except ValidationError as error:
        (first, *_) = error.errors()
        name = ".".join(("done", *map(str, first["loc"])))
        raise Refused(400, f"{name}: {first['msg']}", "done") from error


class Patience(TypedDict):
    """How failed attempts are repeated."""

    answer_within_minutes: float
    max_attempts: int
    base_seconds: float


async def finish(
    services: FlowServices, turn_id: int, held: Held, told: Done
) -> TurnFinished | Refusal:
    """Close the turn. If its flow sent something and none of it has left, the attempt failed."""
    database = services.database
    finished = await finish_turn(database, FinishTurn(**held, **dict(told)))
    if not isinstance(finished, Refusal):
        _log_done(turn_id, finished)
        await services.failing.turn_worked(turn_id)
    elif finished.refused == "not_sent":
        log_dead(turn_id, await fail(services, held, Judged("transient", "flow_failed"), _NOT_SENT))
        services.wake()
    return finished


async def fail(
    services: FlowServices,
    held: Held,
    judged: Judged,
    told: str,
    retry_after: float | None = None,
) -> TurnFailed | Refusal:
    """End the attempt, and tell the contact and the people of the business if that is due."""
    terms = patience(services.settings)
    turn = await look_at_turn(services.database, LookAtTurn(**held))
    if isinstance(turn, Refusal):
        return turn
    if judged.cause == "model_refused":
        words = turn.handoff_message or turn.fallback_message or words_of_flow(turn)
        return await _decline(services, held, words, told)
    if turn.fallback_message is not None and judged.cause not in OF_THE_LINE:
        failing = Failing(judged.kind, judged.cause, told, terms["max_attempts"])
        line = services.keys.line(turn)
        await say_fallback(services.outbox, held, line, turn.fallback_message, failing)
    asked = FailTurn(
        **held,
        kind=judged.kind,
        away=judged.away,
        cause=judged.cause,
        error=told,
        retry_after=retry_after,
        **terms,
    )
    answer = await fail_turn(services.database, asked)
    if not isinstance(answer, Refusal) and (answer.outage or answer.handoff):
        if answer.outage:
            log_event(
                _log, Action.UNANSWERED, f"customers get no answer: {told}",
                level=logging.ERROR, tenant_id=turn.tenant_id, cause=judged.cause,
            )  # fmt: skip
        services.wake_notices()
    return answer


async def _decline(
    services: FlowServices, held: Held, words: str, told: str
) -> TurnFailed | Refusal:
    """Handle a refusal of the flow's model like a reply that the guard refuses."""
    asked = RefuseReply(**held, rule="model_refused", detail=told, say=words)
    replaced = await refuse_reply(services.database, asked)
    if isinstance(replaced, Refusal):
        return replaced
    services.wake_notices()
    return TurnFailed(state="pending", handoff=True)


def patience(settings: Settings) -> Patience:
    """Return how failed attempts are repeated."""
    return {
        "answer_within_minutes": settings.answer_within_minutes,
        "max_attempts": settings.turn_max_attempts,
        "base_seconds": settings.retry_base_seconds,
    }


def log_replied(turn_id: int) -> None:
    """Log that the whole reply of a turn is on the phone."""
    log_event(_log, Action.AI_REPLIED, "AI reply pipeline completed successfully", turn_id=turn_id)


def log_dead(turn_id: int | None, failed: TurnFailed | Refusal) -> None:
    """Log that a failed turn is dead, if it is."""
    if not isinstance(failed, Refusal) and failed.state == "dead":
        log_event(
            _log, Action.TURN_DEAD, "the turn is dead; it can be retried",
            level=logging.ERROR, turn_id=turn_id,
        )  # fmt: skip


def _log_done(turn_id: int, finished: TurnFinished) -> None:
    """Log how a turn ended that its flow has closed: with a reply, or without one."""
    if finished.in_doubt:
        log_event(_log, Action.SEND_IN_DOUBT, "done, but for a send in doubt", turn_id=turn_id)
    elif finished.incomplete:
        log_event(
            _log, Action.TURN_CANCELLED, "done, and a part of what was to be said is not sent",
            turn_id=turn_id, reason="incomplete",
        )  # fmt: skip
    elif finished.silent:
        log_event(
            _log, Action.TURN_CANCELLED, "nothing is said: the flow is silent",
            turn_id=turn_id, reason="silence",
        )  # fmt: skip
    elif not finished.already:
        log_replied(turn_id)
