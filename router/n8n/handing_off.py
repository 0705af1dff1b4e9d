"""How a flow of the gateway contract hands a conversation to a human, and what is said then.

The router sends the handoff's message as the last of the turn, in the same step in which it hands
off. If a flow promises a human in its own words, these words hand the conversation off.
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
    """Return for whom a flow speaks, as the guard needs it."""
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
    """Return what a flow's customer is told at a handoff, if the flow does not say it."""
    return words_of_handoff(turn.handoff_message, turn.jids, turn.wrote)


def promise_in(text: str, turn: TurnOfFlow) -> str | None:
    """Return why a human is called, if a flow's text promises one; None: it does not."""
    if not turn.handoff_on_promise or not promises_person(text):
        return None
    return PROMISED


def texts_to_say(say: str | None) -> tuple[str, ...]:
    """Return what a flow wants to say, in messages; none if it gives no text.

    Raises ValueError if that is no text for a customer.
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
    """Hand a flow's conversation off. The customer is told, unless the flow has told them.

    The flow's text passes the guard first; if the guard refuses it, the guard hands off.
    """
    told: dict[str, Any] = {**held, "reason": reason, "summary": summary}
    turn = await look_at_turn(services.database, LookAtTurn(**held))
    if isinstance(turn, Refusal):  # this very call may have handed it off before
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
