"""The delivery of a reply: its parts in order, each behind its fence, until all are sent."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from router.evolution.errors import MediaAway, MessageRefused
from router.logs.events import Action
from router.replies.making import Part
from router.sending.outcomes import InDoubt, SendFailed, SendStopped
from router.sending.outgoing import Outgoing, is_plain_text
from router.sending.speakers import reply_part
from router.state.calls.flows import HandOff, hand_off
from router.state.calls.model import Refusal
from router.state.calls.sends import GiveUpPart, give_up_part
from router.state.calls.turns import BeginAnew, FinishTurn, begin_anew, finish_turn
from router.turns.in_hand import HAS_SPOKEN, InHand
from router.turns.saying import Saying, outgoing, substitute
from router.whatsapp.clean import clean

_MEDIA_ATTEMPTS = 6  # a minute if media is refused, two and a half if its server hangs


class Delivery:
    """Sends the reply to one turn."""

    def __init__(self, hand: InHand) -> None:
        self._hand = hand
        self._saying = Saying(hand.turn, hand.line, hand.shop.courtesy, hand.shop.rules.pace)
        self._is_dead = self._is_incomplete = False
        self._is_alone = False
        self._is_unread = False
        """Whether what the reply answers is still to be marked as read."""

    @property
    def typed_seconds(self) -> float:
        """How many seconds "typing…" has been shown so far."""
        return round(self._saying.typed, 1)

    async def send(self, parts: tuple[Part, ...]) -> None:
        """Send each part that is not done yet, and log how the turn ended.

        Raises SendFailed if a part cannot be sent now, SendStopped if nothing more may be sent.
        """
        hand = self._hand
        done = {part.part for part in hand.turn.parts if part.is_over}
        self._is_unread = all(part.send_state != "sent" for part in hand.turn.parts)
        self._is_alone = len(parts) == 1
        number = -1
        while (number := number + 1) < len(parts):
            if number in done:
                continue
            body = parts[number]
            if hand.stopped:
                await hand.save_reply()
                await hand.release()
                return
            if not isinstance(body, str) and "handoff" in body and "text" not in body:
                await self._hand_off(body["handoff"])
                return
            alone = len(parts) == 1
            if not await self._say(number, body, before=parts[:number], alone=alone):
                return
            parts = hand.turn.reply or parts  # a given-up media may leave its caption as a new part
        if self._is_dead:
            hand.log(
                Action.TURN_DEAD, "nothing of the reply can be delivered; it can be retried",
                level=logging.ERROR,
            )  # fmt: skip
            return
        self._log_over()

    async def go_on_without_reply(self) -> None:
        """Go on if parts have begun but no reply is stored.

        If a flow in n8n has sent something, this finishes what it began. If nothing has reached the
        phone, the reply is made again, to everything that the contact has written so far.
        """
        if any(part.send_state == "sent" for part in self._hand.turn.parts):
            await self._finish_flow()
            return
        answer = await begin_anew(self._hand.shop.database, BeginAnew(**self._hand.turn.held))
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._hand.log(Action.TURN_RETRY, "nothing of the reply has left: it is made again")

    async def _hand_off(self, called: Mapping[str, Any]) -> None:
        """Call a human, after everything else was sent. Raises SendStopped."""
        await self._hand.save_reply()
        asked = HandOff(
            **self._hand.turn.held, reason=str(called["reason"]), summary=called.get("summary")
        )
        answer = await hand_off(self._hand.shop.database, asked)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._hand.log(Action.PAUSED, "paused: the AI asked for a human", source="ai")
        if answer.replied:
            self._log_replied()
        self._hand.shop.wake_notices()

    async def _say(
        self,
        part: int,
        body: Part,
        as_it_is: Outgoing | None = None,
        *,
        before: tuple[Part, ...] = (),
        alone: bool = False,
    ) -> bool:
        """Send one part, or give it up if it can never be sent.

        It is sent by voice if the reply is spoken, unless `as_it_is` is given. `before` are the
        parts before it; `alone` means that the turn says nothing else. Returns False if nobody
        knows whether the part was sent; the turn is then put aside.
        """
        hand = self._hand
        message = in_writing = as_it_is or outgoing(body, hand.turn, before)
        if alone and as_it_is is None and (written := substitute(body)) is not None:
            message, in_writing = replace(message, has_substitute=True), written
        try:
            await hand.stand()
            if message.has_substitute:
                await hand.save_reply()  # the same message may already be on its way
            if as_it_is is None and hand.shop.voices.speaks(hand.turn):
                await hand.save_reply()  # a voice takes seconds, in which the router may stop
                message = await hand.shop.voices.said(hand.turn, hand.line, body, message)
            if not message.has_substitute:
                await self._saying.type_first(body)
            message = await hand.shop.files.filled(message, hand.turn.tenant.tenant_id)
            speaker = reply_part(hand.turn, part, hand.line, hand.unsaved)
            async with hand.shop.media.filled(message, hand.turn.tenant.tenant_id) as ready:
                hand.is_sending = True
                sent = await hand.shop.outbox.send(speaker, ready)
            self._mark_as_read()
        except SendFailed as failed:
            if message.has_substitute and isinstance(failed.cause, MessageRefused):
                return await self._say(part, body, in_writing)
            if self._is_lost(failed, message):
                return await self._give_up(part, message, failed.cause)
            with suppress(SendStopped):  # the next parts would be refused as well
                await hand.save_reply()  # the fence may not have been asked
            raise
        finally:
            hand.is_sending = False  # the turn's story tells how the send ended
            if not isinstance(body, str) and "handoff" in body:
                hand.shop.wake_notices()
        hand.unsaved = None
        hand.leaves_due = isinstance(sent, InDoubt) or sent.leaves_due
        self._saying.said()
        if not isinstance(body, str) and "handoff" in body:
            hand.log(Action.PAUSED, "paused: the AI asked for a human", source="ai")
        return not isinstance(sent, InDoubt)

    def _mark_as_read(self) -> None:
        """Mark as read what the reply answers, once its first part was sent, or may have been."""
        if self._is_unread:
            self._is_unread = False
            self._hand.shop.courtesy.read(self._hand.turn, self._hand.line)

    def _is_lost(self, failed: SendFailed, message: Outgoing) -> bool:
        """Whether this message can never be sent, so that the next one may go first.

        If the media cannot be fetched now and the turn has nothing else to say, the part waits as
        long as the turn has attempts. If the turn has more to say, the part waits a few minutes at
        most, because the contact hears nothing meanwhile.
        """
        most = self._hand.shop.rules.max_attempts
        if message.body.get("caption") or not self._is_alone:
            most = min(most, _MEDIA_ATTEMPTS)
        cause = failed.cause
        is_last = self._hand.turn.attempt >= most
        return isinstance(cause, MessageRefused) or (is_last and isinstance(cause, MediaAway))

    async def _give_up(self, part: int, message: Outgoing, why: Exception) -> bool:
        """Have the state give up a part, so that the next one can be sent. Raises SendStopped.

        Returns False if the part may have been sent after all; the turn is then put aside.
        """
        hand = self._hand
        try:
            await hand.save_reply()
        except SendStopped as stopped:
            # If the turn has ended with this part, give_up_part says how.
            if stopped.reason == HAS_SPOKEN:
                raise
        asked = GiveUpPart(
            **hand.turn.held,
            part=part,
            kind=message.kind,
            body=message.text,
            identity=message.identity,
            error=clean(str(why)),
        )
        answer = await give_up_part(hand.shop.database, asked)
        if isinstance(answer, Refusal):
            if answer.refused in ("already_sent", "in_doubt"):  # a webhook reported its echo
                return answer.refused == "already_sent"
            raise SendStopped(answer.refused)
        hand.turn = hand.turn.model_copy(update={"reply": answer.reply})
        self._is_dead, self._is_incomplete = answer.turn_state == "dead", True
        hand.log(
            Action.EVOLUTION_SEND_FAILED, f"part {part + 1} ({message.kind}) is given up: {why}",
            level=logging.WARNING, turn_state=answer.turn_state,
        )  # fmt: skip
        hand.shop.wake_notices()
        return True

    async def _finish_flow(self) -> None:
        """Finish what a flow began: send its texts that did not leave, and close the turn.

        The rest of what the flow would have said is unknown, and a new run of it would repeat what
        was said.
        """
        hand = self._hand
        for part in hand.turn.parts:
            if part.send_state != "failed" or part.is_over:
                continue
            if not is_plain_text(part.kind, part.body, part.told_as):
                hand.log(Action.EVOLUTION_SEND_FAILED, f"a {part.kind} of the flow is not sent")
            elif not await self._say(part.part, part.body, Outgoing.plain(part.body)):
                return
        asked = FinishTurn(**hand.turn.held, reason="flow_settled")
        answer = await finish_turn(hand.shop.database, asked)
        if isinstance(answer, Refusal) or answer.in_doubt:
            return
        self._is_incomplete = bool(answer.incomplete)
        self._log_over()

    def _log_over(self) -> None:
        if self._is_incomplete:
            self._hand.log(Action.TURN_CANCELLED, "a part of it is not sent", reason="incomplete")
        else:
            self._log_replied()

    def _log_replied(self) -> None:
        self._hand.log(
            Action.AI_REPLIED, "AI reply pipeline completed successfully",
            typed_seconds=self.typed_seconds,
        )  # fmt: skip
