"""Making a reply: whether one is needed, what it may cost, and what it says."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from router.llm.errors import LlmAway, LlmEmpty, LlmFailed, LlmRefused
from router.llm.provider import Prompt
from router.logs.events import Action
from router.replies.closed import ALREADY_TOLD, closed_stretch, with_said
from router.replies.hand_over import HAND_OVER
from router.replies.handoffs import handoff_message, kept_promise, with_words
from router.replies.llm_keys import llm_of, max_tokens_within
from router.replies.making import HandedOver, Part, Reply, Silence
from router.replies.pictures import with_pictures
from router.replies.prompt import prompt_of_turn
from router.replies.understood import said_of
from router.safety.budget import worst_case_tokens
from router.safety.guard import ReplyRefused, Speaker
from router.sending.outcomes import SendStopped
from router.sending.outgoing import Outgoing
from router.sending.speakers import closed
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import Refusal
from router.state.calls.turns import FinishTurn, MadeReply, finish_turn
from router.turns.in_hand import HAS_SPOKEN, InHand
from router.turns.saying import delivered, said_without_a_model
from router.turns.voices import tokens_aloud

_SENDS_AND_ANSWERS = (
    "the flow has sent messages through the gateway, so its answer is not sent, too: a flow that"
    " sends by itself must answer with silence, or have the contract gateway"
)
_NOT_SENT = "the flow is silent, and nothing of what it sent through the gateway has left"


class Making:
    """Makes the reply to one turn."""

    def __init__(self, hand: InHand) -> None:
        self._hand = hand
        self._is_by_flow = False

    async def make(self) -> tuple[Part, ...] | None:
        """Return the parts of the reply, or None if the turn was closed or given back without one.

        Raises LlmError if there is no reply, SendFailed or SendStopped if it could not be sent.
        """
        await self._require_line()
        if not await self._may_answer():
            return None
        if (ready := said_without_a_model(self._hand.turn)) is not None:
            self._hand.unsaved = MadeReply(parts=ready, handler="fallback")
            return ready
        reply = await self._ask()
        if isinstance(reply, HandedOver):
            return None
        if isinstance(reply, Silence):
            await self._be_silent(reply)
            return None
        self._is_by_flow = reply.handler == "n8n"
        self._hand.unsaved = self._as_said(reply)
        if reply.provider is not None and reply.handler == "fallback":
            # A flow's reply proves nothing about the LLM: the flow may not have used it.
            self._hand.shop.reach.worked(llm_of(self._hand.turn.tenant))
        return self._hand.unsaved.parts

    async def _ask(self) -> Reply | HandedOver | Silence:
        """Have n8n or the LLM make the reply within its time and budget, and the guard check it."""
        hand, shop = self._hand, self._hand.shop
        await hand.seat.sit()
        hand.turn = hand.as_of_now()
        prompt = prompt_of_turn(hand.turn, shop.rules.prompt)
        prompt = await with_pictures(shop.database, hand.turn, prompt)
        prompt = replace(prompt, tools=(HAND_OVER,))
        await self._reserve(prompt)
        reply: Reply | HandedOver | Silence | None = None
        try:
            async with (
                asyncio.timeout(shop.rules.make_timeout),
                shop.courtesy.during(hand.turn, hand.line),
            ):
                reply = await shop.maker.make(hand.turn, prompt)
                if isinstance(reply, Reply):
                    if reply.handler == "n8n":
                        hand.seat.flow_has_answered()
                    parts = kept_promise(reply.parts, hand.turn)
                    reply = replace(reply, parts=with_words(parts, hand.turn))
                    hand.seat.stand_now()  # its tenant's moderation may be asked
                    if reply.said:
                        await shop.guard.check(_speaker(hand.turn), reply.said, cost=reply.cost)
        except TimeoutError as error:
            raise LlmAway("the reply took too long to be made") from error
        finally:
            # What was handed over, a flow is still making.
            hand.seat.needs_no_flow = not isinstance(reply, HandedOver)
        return reply

    async def decline(self, error: LlmRefused) -> None:
        """Handle the model's refusal to answer like a reply that the guard refuses."""
        turn = self._hand.turn
        words = turn.tenant.handoff_message or turn.tenant.fallback_message or handoff_message(turn)
        speaker = replace(_speaker(turn), handoff_message=words)
        with suppress(ReplyRefused):
            await self._hand.shop.guard.declined(speaker, str(error))

    def broken_contract(self, refused: str) -> LlmFailed | None:
        """Return the failure if a flow answers although it has already sent something itself."""
        return LlmFailed(_SENDS_AND_ANSWERS) if refused == HAS_SPOKEN and self._is_by_flow else None

    def _as_said(self, reply: Reply) -> MadeReply:
        """Return the reply divided into messages. Raises LlmEmpty if nothing is left to send."""
        by_voice, cost = self._hand.shop.voices.speaks(self._hand.turn), reply.cost
        parts = delivered(reply.parts, self._hand.turn, by_voice=by_voice)
        if not parts:
            raise LlmEmpty("the reply contains only the name of a file that does not exist")
        if by_voice and cost.get("tokens_in") is not None:
            cost["tokens_in"] = (cost["tokens_in"] or 0) + tokens_aloud(parts)
        return MadeReply(
            parts=parts,
            handler=reply.handler,
            execution_id=reply.execution_id,
            execution_url=reply.execution_url,
            **cost,
        )

    async def _may_answer(self) -> bool:
        """If the business is closed, tell the contact once. Return whether the AI answers."""
        hand = self._hand
        hand.turn = hand.as_of_now()
        stretch = closed_stretch(hand.turn, hand.shop.rules.prompt.timezone)
        if stretch is None:
            return True
        if stretch.message is not None and stretch.opens_at is not None:
            await self._say_closed(stretch.message, stretch.opens_at)
            if hand.stopped:
                await hand.release()
                return False
        if hand.turn.tenant.answer_when_closed or stretch.was_written_open:
            return True
        asked = FinishTurn(**hand.turn.held, reason="closed", unanswered=True)
        await finish_turn(hand.shop.database, asked)
        hand.log(Action.TURN_CANCELLED, "not answered: the business is closed", reason="closed")
        return False

    async def _say_closed(self, message: str, opens_at: datetime) -> None:
        """Send the away message before a reply is made. Raises SendFailed and SendStopped."""
        await self._hand.stand()
        speaker = closed(self._hand.turn, self._hand.line, opens_at)
        try:
            with self._hand.sending():
                sent = await self._hand.shop.outbox.send(speaker, Outgoing.plain(message))
        except SendStopped as stopped:
            if stopped.reason != ALREADY_TOLD:
                raise
            return
        self._hand.log(Action.AWAY_TOLD, "the contact is told that the business is closed")
        self._hand.turn = with_said(self._hand.turn, message, sent.message_id)

    async def _be_silent(self, silence: Silence) -> None:
        """Close the turn without a reply. Raises SendStopped."""
        asked = FinishTurn(**self._hand.turn.held, reason=silence.why, **silence.cost)
        answer = await finish_turn(self._hand.shop.database, asked)
        if isinstance(answer, Refusal) and answer.refused == "not_sent":
            raise LlmFailed(_NOT_SENT)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._hand.log(
            Action.TURN_CANCELLED, "nothing is said: the flow is silent", reason="silence"
        )

    async def _reserve(self, prompt: Prompt) -> None:
        """Reserve the most that the reply may cost. Raises SendStopped if the budget refuses."""
        most = max_tokens_within(self._hand.turn.tenant, self._hand.shop.rules.max_tokens)
        tokens = worst_case_tokens(prompt, most)
        refused = await self._hand.shop.budget.reserve(self._hand.turn.held, tokens)
        if refused is not None:
            raise SendStopped(refused)

    async def _require_line(self) -> None:
        """Check the line first if an earlier reply could not be sent: making one costs money."""
        if self._hand.turn.waits:
            await self._hand.stand()
            await self._hand.shop.lines.require(self._hand.line)


def _speaker(turn: ClaimedTurn) -> Speaker:
    tenant = turn.tenant
    return Speaker(
        held=turn.held,
        tenant_id=tenant.tenant_id,
        instance_name=tenant.instance_name,
        session_id=turn.session.session_id,
        system_prompt=tenant.system_prompt,
        rules=tenant.reply_rules,
        facts=tenant.facts,
        people_noted=turn.session.notes,
        contact_wrote="\n".join(said_of(each) for each in turn.history if each.in_turn),
        handoff_message=handoff_message(turn),
    )
