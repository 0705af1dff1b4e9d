"""How an attempt fails: the cause, what the contact is told, what the state is told."""

import logging
from contextlib import suppress
from typing import Literal

from router.evolution.errors import EvolutionError, MediaAway
from router.llm.errors import LlmAway, LlmError, LlmFailed, LlmMisconfigured
from router.logs.events import Action
from router.replies.causes import cause_of
from router.replies.llm_keys import llm_of
from router.sending.fallback_message import say_fallback
from router.sending.outcomes import SendFailed
from router.sending.speakers import Failing
from router.sharing.places import NoPlace
from router.state.calls.model import Refusal
from router.state.calls.turns import Cause, FailTurn, fail_turn
from router.turns.in_hand import InHand
from router.whatsapp.clean import clean

Kind = Literal["transient", "permanent", "away"]


class Failure:
    """The end of an attempt that has failed."""

    def __init__(self, hand: InHand) -> None:
        self._hand = hand

    async def of_llm(self, error: LlmError) -> None:
        """End the attempt: no reply could be made."""
        await self._end(error, self._kind_of(error), Action.AI_FAILED)

    async def of_send(self, failed: SendFailed) -> None:
        """End the attempt: a part of the reply could not be sent."""
        await self._end(failed.cause, _kind_of_send(failed), Action.EVOLUTION_SEND_FAILED)

    def _kind_of(self, error: LlmError) -> Kind:
        if isinstance(error, LlmFailed):
            return "transient"
        if not isinstance(error, LlmAway):
            return "permanent"
        # If the LLM answers others but timed out here, this question is too much for it.
        llm = llm_of(self._hand.turn.tenant)
        is_too_much = not error.is_free and self._hand.shop.reach.worked_since(
            llm, self._hand.began
        )
        return "transient" if is_too_much else "away"

    async def _end(
        self, error: LlmError | EvolutionError | NoPlace, kind: Kind, action: Action
    ) -> None:
        hand, rules = self._hand, self._hand.shop.rules
        cause = cause_of(error, is_away=kind == "away")
        told = clean(f"{type(error).__name__}: {error}")
        if isinstance(error, LlmError):
            await self._say_fallback(kind, cause, told)
        execution_id, execution_url = _execution_of(error)
        asked = FailTurn(
            **hand.turn.held,
            kind=kind,
            execution_id=execution_id,
            execution_url=execution_url,
            away="llm" if isinstance(error, LlmError) else "evolution",
            error=told,
            cause=cause,
            retry_after=getattr(error, "retry_after", None),
            tokens=0 if _is_free(error) else None,
            max_attempts=rules.max_attempts,
            base_seconds=rules.retry_base,
            answer_within_minutes=rules.answer_within_minutes,
        )
        answer = await fail_turn(hand.shop.database, asked)
        state = answer.refused if isinstance(answer, Refusal) else answer.state
        hand.log(
            action, f"{type(error).__name__}: {error}", level=logging.WARNING, turn_state=state
        )
        if state == "dead":
            hand.log(Action.TURN_DEAD, "the turn is dead; it can be retried", level=logging.ERROR)
        if not isinstance(answer, Refusal) and (answer.outage or answer.handoff):
            if answer.outage:
                hand.log(
                    Action.UNANSWERED,
                    f"customers get no answer: {told}",
                    level=logging.ERROR,
                    cause=cause,
                )
            hand.shop.wake_notices()

    async def _say_fallback(self, kind: Kind, cause: Cause, told: str) -> None:
        """Send the tenant's fallback message if it is due; it does not matter if that fails."""
        hand = self._hand
        message = hand.turn.tenant.fallback_message
        if message is None or hand.stopped:
            return
        failing = Failing(kind, cause, told, hand.shop.rules.max_attempts)
        with suppress(SendFailed):
            await hand.stand()
            with hand.sending():
                await say_fallback(hand.shop.outbox, hand.turn.held, hand.line, message, failing)


def _kind_of_send(failed: SendFailed) -> Kind:
    if isinstance(failed.cause, MediaAway):
        return "transient"  # only this media is affected: other messages are sent meanwhile
    return "away" if failed.is_away else "permanent"


def _execution_of(error: BaseException | None) -> tuple[str | None, str | None]:
    """Return n8n's failed execution and its link, if there was one."""
    while error is not None:
        if isinstance(error, LlmError) and error.execution is not None:
            return error.execution
        error = error.__cause__
    return None, None


def _is_free(error: Exception) -> bool:
    """Whether the failure certainly cost no tokens."""
    return isinstance(error, LlmMisconfigured) or (isinstance(error, LlmAway) and error.is_free)
