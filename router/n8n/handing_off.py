"""How a flow of the gateway contract hands off a conversation, and what the customer is told.

The router sends the handoff's message as the turn's last, and hands off in the same step. If a flow
promises a human in a text of its own, sending that text hands the conversation off.
"""

from typing import Any

from router.n8n.answered_messages import text_parts
from router.n8n.dependencies import FlowServices
from router.n8n.wrappings import BadAnswer
from router.replies.handoffs import PROMISED, words_of_handoff
from router.safety.guard import ReplyRefused, Speaker
from router.safety.promises import promises_person
from router.state.calls.flows import (
    HandedOff,
    HandOff,
    LookAtTurn,
    TurnOfFlow,
    hand_off,
    look_at_turn,
)
from router.state.calls.model import Held, Refusal


def speaker_of(turn: TurnOfFlow, held: Held, *, words: str | None = None) -> Speaker:
    """Return the flow as a speaker for the guard."""
    return Speaker(
        held=held,
        tenant_id=turn.tenant_id,
        instance_name=turn.instance_name,
        session_id=turn.session_id,
        system_prompt=turn.system_prompt,
        rules=turn.reply_rules,
        facts=turn.facts,
        people_noted=turn.notes,
        contact_wrote=turn.contact_wrote or "",
        handoff_message=words,
    )


def words_of_flow(turn: TurnOfFlow) -> str:
    """Return what the customer is told at a handoff, if the flow gives no text for that."""
    return words_of_handoff(turn.handoff_message, turn.jids, turn.wrote)


def promise_in(text: str, turn: TurnOfFlow) -> str | None:
    """Return why a human is called if a flow's text promises one, otherwise None."""
    if not turn.handoff_on_promise or not promises_person(text):
        return None
    return PROMISED


def texts_to_say(say: str | None) -> tuple[str, ...]:
    """Divide a flow's text into messages; none if it gives no text.

    Raises ValueError if the text must not be sent to a customer.
    """
    if say is None or not say.strip():
        return ()
    try:
        return text_parts(say, "say")
    except BadAnswer as bad:
        raise ValueError(str(bad)) from bad


async def call_human(
    services: FlowServices, held: Held, reason: str, summary: str | None, say: tuple[str, ...]
) -> HandedOff | Refusal:
    """Hand off a flow's conversation, and tell the customer, unless the flow has told them.

    The flow's text passes the guard first. If the guard refuses it, the guard makes the handoff.
    """
    told: dict[str, Any] = {**held, "reason": reason, "summary": summary}
    turn = await look_at_turn(services.database, LookAtTurn(**held))
    if isinstance(turn, Refusal):  # an earlier delivery of this call may have handed it off
        return await hand_off(services.database, HandOff(**told))
    words = words_of_flow(turn)
    if say:
        speaker = speaker_of(turn, held, words=words)
        try:
            await services.guard.check(speaker, "\n\n".join(say), said=turn.said_so_far)
        except ReplyRefused as refused:
            services.wake()
            return Refusal(refused=refused.reason)
    elif all(sent.send_state == "failed" for sent in turn.sends):
        say = (words,)
    return await hand_off(services.database, HandOff(**told, say=say or None))
