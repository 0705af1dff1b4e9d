"""One attempt at a turn: settle its sends in doubt, have the reply made, send the parts.

An attempt always tells the state how it ended. If it cannot (the process died, the database is
away), the turn becomes due again when the lease ends.
"""

import asyncio

from router.errors import DatabaseAway
from router.llm.errors import LlmError, LlmRefused
from router.logs.events import Action, bind_correlation
from router.safety.guard import ReplyRefused
from router.sending.outcomes import SendFailed, SendStopped
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.entrances import on_behalf_of
from router.turns.delivery import Delivery
from router.turns.failing import Failure
from router.turns.in_hand import InHand, Workshop
from router.turns.making import Making
from router.turns.seats import Seat


class TurnAttempt:
    """An attempt in progress. Call `run` once; `stop` asks it to give the turn back."""

    def __init__(self, turn: ClaimedTurn, workshop: Workshop, seat: Seat) -> None:
        self._hand = InHand(turn, workshop, seat)
        self._making = Making(self._hand)
        self._delivery = Delivery(self._hand)
        self._failure = Failure(self._hand)

    @property
    def leaves_due(self) -> bool:
        """Whether another turn may be due, without a worker, once this one is closed."""
        return self._hand.leaves_due

    def stop(self) -> bool:
        """Give the turn back at the next safe point. True: nothing is being sent; cancel now."""
        self._hand.stopped = True
        return not self._hand.is_sending

    async def run(self) -> None:
        """Work on the turn and tell the state how it ended."""
        turn = self._hand.turn
        contact = self._hand.shop.hashes.in_log(turn.session.jids)
        with (
            bind_correlation(turn.correlation_id or f"turn-{turn.turn_id}", contact),
            on_behalf_of(f"tenant {turn.tenant.tenant_id}"),
        ):
            try:
                await self._work()
            except asyncio.CancelledError:
                await asyncio.shield(self._hand.give_back())
                raise
            except DatabaseAway as error:
                self._hand.log_away(error)

    async def _work(self) -> None:
        try:
            await self._answer()
        except (SendStopped, ReplyRefused) as stopped:
            if (broken := self._making.broken_contract(stopped.reason)) is not None:
                await self._failure.of_llm(broken)
                return
            self._hand.log(
                Action.TURN_CANCELLED, f"not sent: {stopped.reason}",
                reason=stopped.reason, typed_seconds=self._delivery.typed_seconds,
            )  # fmt: skip
        except SendFailed as failed:
            await self._failure.of_send(failed)
        except LlmRefused as error:
            await self._making.decline(error)
        except LlmError as error:
            await self._failure.of_llm(error)

    async def _answer(self) -> None:
        hand = self._hand
        if hand.stopped:
            await hand.release()
            return
        settled = await hand.shop.settling.settle(hand.turn, hand.line, hand.stand)
        if settled is None:
            return
        hand.turn = settled
        if hand.turn.reply is None and hand.turn.parts:
            await self._delivery.go_on_without_reply()
            return
        parts = hand.turn.reply or await self._making.make()
        if parts is not None:
            await self._delivery.send(parts)
