"""One attempt at a turn: settle what is in doubt, have the reply made, send its parts.

However an attempt ends, the state is told how; an attempt that can tell nothing any more (the
process died, the database is away) is brought back by its lease.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from router.errors import DatabaseAway
from router.evolution.errors import EvolutionAway, EvolutionError
from router.llm.provider import LlmAway, LlmEmpty, LlmError, LlmMisconfigured
from router.logs import Action, bind_correlation, log_event
from router.people.hashing import ContactHashes
from router.safety.budget import Budget
from router.safety.guard import ReplyGuard, ReplyRefused, Speaker
from router.state.database import Database, Json
from router.turns.claimed import ClaimedTurn, TurnPart
from router.turns.courtesy import Courtesy
from router.turns.evidence import Finding, judge_send
from router.turns.sender import Sender, SendFailed, SendStopped
from router.webhook.clean import clean

_log = logging.getLogger(__name__)
_CHECK_AWAY = 30.0  # seconds until a send in doubt is looked up again where Evolution is away
_CHECK_MIN = 2.0
_GIVE_UP_HOURS = 24
_LOOK_BACK = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be said, in parts that WhatsApp takes, and what it cost."""

    parts: tuple[str, ...]
    handler: Literal["n8n", "fallback"]
    provider: str | None = None
    model: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def cost(self) -> Json:
        """Who made it, with what, and the tokens that it took."""
        return {
            "provider": self.provider,
            "model": self.model,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


class HandedOver:
    """A flow in n8n has the turn: it sends and closes it by itself, or its lease runs out."""


class ReplyMaker(Protocol):
    """Makes the reply to a turn; raises LlmError when it cannot."""

    async def make(self, turn: ClaimedTurn) -> Reply | HandedOver:
        """Return the reply, nothing of which has been sent, or say who else sends it."""


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Times in seconds."""

    make_timeout: float
    max_attempts: int
    retry_base: float
    settle_after: float


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every attempt works with."""

    database: Database
    maker: ReplyMaker
    courtesy: Courtesy
    guard: ReplyGuard
    budget: Budget
    sender: Sender
    hashes: ContactHashes
    rules: AttemptRules


class TurnAttempt:
    """An attempt in progress. `run` it once; `stop` asks it to give the turn back."""

    def __init__(self, turn: ClaimedTurn, workshop: Workshop) -> None:
        self._turn = turn
        self._shop = workshop
        self._sending = False
        self._stopped = False

    def stop(self) -> bool:
        """Give the turn back at the next safe point. True: cancel the task, it sends nothing."""
        self._stopped = True
        return not self._sending

    async def run(self) -> None:
        """Work on the turn; the state hears how it ended."""
        contact = self._shop.hashes.in_log(self._turn.session.jids)
        with bind_correlation(self._turn.correlation_id or f"turn-{self._turn.turn_id}", contact):
            try:
                await self._work()
            except asyncio.CancelledError:
                await asyncio.shield(self._release())
                raise
            except DatabaseAway as error:
                self._log(Action.DATABASE_AWAY, f"the lease will bring the turn back: {error}")

    async def _work(self) -> None:
        try:
            if self._stopped:
                await self._release()
                return
            if not await self._settle_doubts():
                return
            if self._turn.reply is None and self._turn.parts:
                await self._finish_flow()
                return
            parts = self._turn.reply or await self._make_reply()
            if parts is not None:
                await self._send(parts)
        except (SendStopped, ReplyRefused) as stopped:
            self._log(Action.TURN_CANCELLED, f"not sent: {stopped.reason}", reason=stopped.reason)
        except SendFailed as failed:
            await self._fail(
                failed.cause, Action.EVOLUTION_SEND_FAILED, message_id=failed.message_id
            )
        except LlmError as error:
            await self._fail(error, Action.AI_FAILED)

    async def _make_reply(self) -> tuple[str, ...] | None:
        await self._shop.budget.reserve(self._turn)
        try:
            async with (
                asyncio.timeout(self._shop.rules.make_timeout),
                self._shop.courtesy.during(self._turn),
            ):
                reply = await self._shop.maker.make(self._turn)
                if isinstance(reply, Reply):
                    await self._check(reply)
        except TimeoutError as error:
            raise LlmAway("the reply took longer than the turn's lease") from error
        if isinstance(reply, HandedOver):
            return None
        answer = await self._shop.database.call(
            "save_reply",
            {
                **self._turn.held,
                "parts": reply.parts,
                "handler": reply.handler,
                **reply.cost,
            },
        )
        if "refused" in answer:
            raise SendStopped(answer["refused"])
        return reply.parts

    async def _check(self, reply: Reply) -> None:
        tenant = self._turn.tenant
        speaker = Speaker(
            held=self._turn.held,
            tenant_id=tenant.tenant_id,
            instance_name=tenant.instance_name,
            session_id=self._turn.session.session_id,
            system_prompt=tenant.system_prompt,
            rules=tenant.reply_rules,
        )
        await self._shop.guard.check(speaker, "\n\n".join(reply.parts), cost=reply.cost)

    async def _send(self, parts: tuple[str, ...]) -> None:
        done = {part.part for part in self._turn.parts if part.send_state == "sent"}
        for number, body in enumerate(parts):
            if number in done:
                continue
            if self._stopped:
                await self._release()
                return
            self._sending = True
            try:
                state = await self._shop.sender.send(self._turn, number, body)
            finally:
                self._sending = False
            if state == "in_doubt":
                return
        self._log(Action.AI_REPLIED, "AI reply pipeline completed successfully", parts=len(parts))

    async def _finish_flow(self) -> None:
        """End what a flow in n8n has begun: send again what never left, and close the turn.

        What else the flow would have said is not known, and from the start it would repeat itself.
        """
        for part in self._turn.parts:
            if part.send_state == "failed" and part.kind == "text":
                await self._shop.sender.send(self._turn, part.part, part.body)
        await self._shop.database.call("finish_turn", {**self._turn.held, "reason": "flow_settled"})

    async def _settle_doubts(self) -> bool:
        """Find out about sends whose outcome is unknown. False: still unknown, look again later."""
        for part in self._turn.parts:
            if part.in_doubt and not await self._settle(part):
                return False
        return True

    async def _settle(self, part: TurnPart) -> bool:
        finding, check_after = await self._look_for(part)
        answer = await self._shop.database.call(
            "settle_send",
            {
                **self._turn.held,
                "message_id": part.message_id,
                "outcome": finding.outcome,
                "wa_id": finding.wa_id,
                "error": finding.detail,
                "check_after": check_after,
                "give_up_hours": _GIVE_UP_HOURS,
            },
        )
        self._log(Action.SEND_SETTLED, f"send in doubt: {finding.outcome}", detail=finding.detail)
        if "refused" in answer:
            raise SendStopped(answer["refused"])
        if finding.outcome == "unknown":
            return False
        state = "sent" if finding.outcome == "sent" else "failed"
        known = part.model_copy(update={"send_state": state})
        parts = tuple(known if p.part == part.part else p for p in self._turn.parts)
        self._turn = self._turn.model_copy(update={"parts": parts})
        return bool(answer["turn_state"] == "sending")

    async def _look_for(self, part: TurnPart) -> tuple[Finding, float]:
        rules = self._shop.rules
        now = datetime.now(UTC)
        theirs = {m.wa_id for m in self._turn.history if not m.from_me and m.wa_id}
        ours = {m.wa_id for m in self._turn.history if m.from_me and m.wa_id}
        since = (
            min([part.send_began_at, *(m.sent_at for m in self._turn.history if m.in_turn)])
            - _LOOK_BACK
        )
        try:
            records = await self._shop.sender.stored_messages(self._turn, since)
        except EvolutionError as error:
            return Finding("unknown", detail=f"Evolution cannot be asked: {error}"), _CHECK_AWAY
        finding = judge_send(
            part.body,
            part.send_began_at,
            records,
            ours=ours,
            theirs=theirs,
            now=now,
            settle_after=timedelta(seconds=rules.settle_after),
        )
        remaining = (part.send_began_at - now).total_seconds() + rules.settle_after
        return finding, max(_CHECK_MIN, min(remaining, 10)) if remaining > 0 else _CHECK_AWAY

    async def _fail(
        self, error: LlmError | EvolutionError, action: Action, message_id: int | None = None
    ) -> None:
        transient = isinstance(error, (LlmAway, LlmEmpty, EvolutionAway))
        answer = await self._shop.database.call(
            "fail_turn",
            {
                **self._turn.held,
                "kind": "transient" if transient else "permanent",
                "error": clean(f"{type(error).__name__}: {error}"),
                "retry_after": getattr(error, "retry_after", None),
                "message_id": message_id,
                "tokens": 0 if _is_free(error) else None,
                "max_attempts": self._shop.rules.max_attempts,
                "base_seconds": self._shop.rules.retry_base,
            },
        )
        state = answer.get("state") or answer.get("refused")
        self._log(
            action, f"{type(error).__name__}: {error}", level=logging.WARNING, turn_state=state
        )
        if state == "dead":
            self._log(Action.TURN_DEAD, "the turn is dead; it can be retried", level=logging.ERROR)

    async def _release(self) -> None:
        try:
            await self._shop.database.call("release_turn", self._turn.held)
        except DatabaseAway as error:
            self._log(Action.DATABASE_AWAY, f"the lease will bring the turn back: {error}")

    def _log(
        self, action: Action, message: str, *, level: int = logging.INFO, **fields: object
    ) -> None:
        log_event(
            _log,
            action,
            message,
            level=level,
            tenant_id=self._turn.tenant.tenant_id,
            session_id=self._turn.session.session_id,
            turn_id=self._turn.turn_id,
            attempt=self._turn.attempt,
            **fields,
        )


def _is_free(error: LlmError | EvolutionError) -> bool:
    """Whether the failure certainly cost nothing."""
    return isinstance(error, LlmMisconfigured) or (isinstance(error, LlmAway) and error.is_free)
