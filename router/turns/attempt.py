"""One attempt at a turn: settle what is in doubt, have the reply made, send its parts.

However an attempt ends, the state is told how; an attempt that can tell nothing any more (the
process died, the database is away) is brought back by its lease.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from router.errors import DatabaseAway
from router.evolution.errors import EvolutionError, MediaAway, MessageRefused
from router.llm.provider import (
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmFailed,
    LlmMisconfigured,
    LlmRefused,
    Prompt,
)
from router.llm.reach import Reach
from router.logs.events import Action, bind_correlation, log_event
from router.people.hashing import ContactHashes
from router.replies.causes import cause_of
from router.replies.closed import ALREADY_TOLD, closed_stretch, with_said
from router.replies.hand_over import HAND_OVER
from router.replies.handoffs import handoff_message, kept_promise, with_words
from router.replies.llm_keys import llm_of, max_tokens_within
from router.replies.making import HandedOver, Part, Reply, ReplyMaker, Silence
from router.replies.pictures import with_pictures
from router.replies.prompt import PromptRules, prompt_of_turn
from router.replies.understood import said_of
from router.safety.budget import Budget, worst_case_tokens
from router.safety.guard import ReplyGuard, ReplyRefused, Speaker
from router.sending.courtesy import Courtesy
from router.sending.fallback_message import say_fallback
from router.sending.outbox import Outbox
from router.sending.outcomes import InDoubt, SendFailed, SendStopped
from router.sending.outgoing import Outgoing, is_plain_text
from router.sending.speakers import Failing, closed, reply_part
from router.sharing.places import NoPlace
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import HandOff, hand_off
from router.state.calls.model import Refusal
from router.state.calls.sends import GiveUpPart, give_up_part
from router.state.calls.turns import (
    BeginAnew,
    Cause,
    FailTurn,
    FinishTurn,
    MadeReply,
    ReleaseTurn,
    SaveReply,
    begin_anew,
    fail_turn,
    finish_turn,
    release_turn,
    save_reply,
)
from router.state.database import Database
from router.state.entrances import on_behalf_of
from router.tenants.instance import InstanceKeys
from router.turns.line import Lines
from router.turns.media import PartMedia
from router.turns.own_files import OwnFiles
from router.turns.saying import Pace, Saying, delivered, outgoing, said_without_a_model
from router.turns.seats import Seat
from router.turns.settling import Settling
from router.turns.voices import Voices, tokens_aloud
from router.whatsapp.clean import clean

_log = logging.getLogger(__name__)


Kind = Literal["transient", "permanent", "away"]
_BOTH = "has_spoken"  # see save_reply
_SENDS_AND_ANSWERS = (
    "the flow has sent through the gateway, and its answer is not said besides: a flow that sends"
    " by itself answers with silence, or has the contract gateway"
)


_NOT_SENT = "the flow is silent, and nothing of what it sent through the gateway has left"


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Times in seconds. `max_tokens` are a reply's, where the deployment's key pays for it."""

    prompt: PromptRules
    max_tokens: int
    make_timeout: float
    max_attempts: int
    retry_base: float
    answer_within_minutes: float
    pace: Pace


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every attempt works with."""

    database: Database
    maker: ReplyMaker
    courtesy: Courtesy
    guard: ReplyGuard
    budget: Budget
    outbox: Outbox
    settling: Settling
    lines: Lines
    keys: InstanceKeys
    hashes: ContactHashes
    reach: Reach
    rules: AttemptRules
    media: PartMedia
    files: OwnFiles
    voices: Voices
    wake_notices: Callable[[], None]


class TurnAttempt:
    """An attempt in progress. `run` it once; `stop` asks it to give the turn back."""

    def __init__(self, turn: ClaimedTurn, workshop: Workshop, seat: Seat) -> None:
        self._turn = turn
        self._shop = workshop
        self._seat = seat
        self._line = workshop.keys.line(turn.tenant)
        self._saying = Saying(turn, self._line, workshop.courtesy, workshop.rules.pace)
        self._sending = False
        self._unsaved: MadeReply | None = None
        """A reply that was made and is not written down yet: the fence of its first part does."""
        self._is_by_flow = False
        self._is_dead = self._is_incomplete = False
        self._stopped = False
        self._began = workshop.reach.now()
        self._claimed_at = turn.now

    def stop(self) -> bool:
        """Give the turn back at the next safe point. True: cancel the task, it sends nothing."""
        self._stopped = True
        return not self._sending

    async def run(self) -> None:
        """Work on the turn; the state hears how it ended."""
        contact = self._shop.hashes.in_log(self._turn.session.jids)
        with (
            bind_correlation(self._turn.correlation_id or f"turn-{self._turn.turn_id}", contact),
            on_behalf_of(f"tenant {self._turn.tenant.tenant_id}"),
        ):
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
            settled = await self._shop.settling.settle(self._turn, self._line, self._seat.stand)
            if settled is None:
                return
            self._turn = settled
            if self._turn.reply is None and self._turn.parts:
                await self._go_on_without_reply()
                return
            parts = self._turn.reply or await self._make_reply()
            if parts is not None:
                await self._send(parts)
        except (SendStopped, ReplyRefused) as stopped:
            if stopped.reason == _BOTH and self._is_by_flow:
                await self._fail(LlmFailed(_SENDS_AND_ANSWERS), "transient", Action.AI_FAILED)
                return
            self._log(
                Action.TURN_CANCELLED, f"not sent: {stopped.reason}",
                reason=stopped.reason, typed_seconds=round(self._saying.typed, 1),
            )  # fmt: skip
        except SendFailed as failed:
            await self._fail(failed.cause, _kind_of_send(failed), Action.EVOLUTION_SEND_FAILED)
        except LlmRefused as error:
            await self._decline(error)
        except LlmError as error:
            await self._fail(error, self._kind_of(error), Action.AI_FAILED)

    async def _decline(self, error: LlmRefused) -> None:
        """The model declines: that is as a reply which may not be sent."""
        tenant = self._turn.tenant
        words = tenant.handoff_message or tenant.fallback_message or handoff_message(self._turn)
        speaker = replace(self._speaker(), handoff_message=words)
        with suppress(ReplyRefused):
            await self._shop.guard.declined(speaker, str(error))

    async def _make_reply(self) -> tuple[Part, ...] | None:
        await self._require_line()
        if not await self._may_answer():
            return None
        if (ready := said_without_a_model(self._turn)) is not None:
            self._unsaved = MadeReply(parts=ready, handler="fallback")
            return ready
        await self._seat.sit()
        self._turn = self._as_of_now()
        prompt = prompt_of_turn(self._turn, self._shop.rules.prompt)
        prompt = await with_pictures(self._shop.database, self._turn, prompt)
        prompt = replace(prompt, tools=(HAND_OVER,))
        await self._reserve(prompt)
        try:
            async with (
                asyncio.timeout(self._shop.rules.make_timeout),
                self._shop.courtesy.during(self._turn, self._line),
            ):
                reply = await self._shop.maker.make(self._turn, prompt)
                if isinstance(reply, Reply):
                    parts = kept_promise(reply.parts, self._turn)
                    reply = replace(reply, parts=with_words(parts, self._turn))
                    self._seat.stand_now()  # its tenant's moderation may be asked
                    await self._check(reply)
        except TimeoutError as error:
            raise LlmAway("the reply took too long to be made") from error
        if isinstance(reply, HandedOver):
            return None
        if isinstance(reply, Silence):
            await self._be_silent(reply)
            return None
        self._is_by_flow = reply.handler == "n8n"
        self._unsaved = self._as_said(reply)
        if reply.provider is not None and reply.handler == "fallback":
            # What a flow says need not come from the LLM that it names.
            self._shop.reach.worked(llm_of(self._turn.tenant))
        return self._unsaved.parts

    def _as_said(self, reply: Reply) -> MadeReply:
        """Return the reply in the messages that it is said in. Raises LlmEmpty: there are none."""
        by_voice, cost = self._shop.voices.speaks(self._turn), reply.cost
        parts = delivered(reply.parts, self._turn, by_voice=by_voice)
        if not parts:
            raise LlmEmpty("the reply is nothing but the name of a file that there is not")
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
        """Tell a contact who writes to a closed business, once; whether the AI answers, too."""
        self._turn = self._as_of_now()
        stretch = closed_stretch(self._turn, self._shop.rules.prompt.timezone)
        if stretch is None:
            return True
        if stretch.message is not None and stretch.opens_at is not None:
            await self._say_closed(stretch.message, stretch.opens_at)
            if self._stopped:
                await self._release()
                return False
        if self._turn.tenant.answer_when_closed or stretch.was_written_open:
            return True
        asked = FinishTurn(**self._turn.held, reason="closed", unanswered=True)
        await finish_turn(self._shop.database, asked)
        self._log(Action.TURN_CANCELLED, "not answered: the business is closed", reason="closed")
        return False

    def _as_of_now(self) -> ClaimedTurn:
        """Return the turn at the state's time: it was claimed a while ago, and has waited."""
        passed = timedelta(seconds=self._shop.reach.now() - self._began)
        return self._turn.model_copy(update={"now": self._claimed_at + passed})

    async def _say_closed(self, message: str, opens_at: datetime) -> None:
        """Say that the business is closed, before anything is made. Raises as a part's send."""
        await self._stand()
        self._sending = True
        try:
            sent = await self._shop.outbox.send(
                closed(self._turn, self._line, opens_at), Outgoing.plain(message)
            )
        except SendStopped as stopped:
            if stopped.reason != ALREADY_TOLD:
                raise
            return
        finally:
            self._sending = False
        self._log(Action.AWAY_TOLD, "the contact is told that the business is closed")
        self._turn = with_said(self._turn, message, sent.message_id)

    async def _be_silent(self, silence: Silence) -> None:
        """Close the turn, for nothing is to be said. Raises SendStopped."""
        asked = FinishTurn(**self._turn.held, reason=silence.why, **silence.cost)
        answer = await finish_turn(self._shop.database, asked)
        if isinstance(answer, Refusal) and answer.refused == "not_sent":
            raise LlmFailed(_NOT_SENT)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._log(Action.TURN_CANCELLED, "nothing is said: the flow is silent", reason="silence")

    async def _reserve(self, prompt: Prompt) -> None:
        """Reserve what the reply may cost at most. Raises SendStopped where that is refused."""
        most = max_tokens_within(self._turn.tenant, self._shop.rules.max_tokens)
        tokens = worst_case_tokens(prompt, most)
        refused = await self._shop.budget.reserve(self._turn.held, tokens)
        if refused is not None:
            raise SendStopped(refused)

    async def _save_reply(self) -> None:
        """Write down a reply whose first part has not passed the fence. Raises SendStopped."""
        if self._unsaved is None:
            return
        reply, self._unsaved = self._unsaved, None
        asked = SaveReply(**self._turn.held, **dict(reply))
        answer = await save_reply(self._shop.database, asked)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)

    async def _require_line(self) -> None:
        """Ask for the line where a reply could not leave before, for to make one costs."""
        if self._turn.waits:
            await self._stand()
            await self._shop.lines.require(self._line)

    async def _stand(self) -> None:
        """Leave the seat to others: what follows waits for the tenant's server."""
        try:
            await self._seat.stand()
        except NoPlace as error:
            raise SendFailed(error) from error

    def _kind_of(self, error: LlmError) -> Kind:
        if isinstance(error, LlmFailed):
            return "transient"
        if not isinstance(error, LlmAway):
            return "permanent"
        # It answers others while it costs time here: then it is this question that is too much.
        llm = llm_of(self._turn.tenant)
        is_too_much = not error.is_free and self._shop.reach.worked_since(llm, self._began)
        return "transient" if is_too_much else "away"

    async def _check(self, reply: Reply) -> None:
        if not reply.said:
            return
        await self._shop.guard.check(self._speaker(), reply.said, cost=reply.cost)

    def _speaker(self) -> Speaker:
        tenant = self._turn.tenant
        return Speaker(
            held=self._turn.held,
            tenant_id=tenant.tenant_id,
            instance_name=tenant.instance_name,
            session_id=self._turn.session.session_id,
            system_prompt=tenant.system_prompt,
            rules=tenant.reply_rules,
            facts=tenant.facts,
            people_noted=self._turn.session.notes,
            contact_wrote="\n".join(said_of(each) for each in self._turn.history if each.in_turn),
            handoff_message=handoff_message(self._turn),
        )

    async def _send(self, parts: tuple[Part, ...]) -> None:
        done = {part.part for part in self._turn.parts if part.is_over}
        if not self._turn.parts and not self._stopped:
            self._shop.courtesy.read(self._turn, self._line)
        number = -1
        while (number := number + 1) < len(parts):
            if number in done:
                continue
            body = parts[number]
            if self._stopped:
                await self._save_reply()
                await self._release()
                return
            if not isinstance(body, str) and "handoff" in body and "text" not in body:
                await self._hand_off(body["handoff"])
                return
            if not await self._say(number, body, before=parts[:number]):
                return
            parts = self._turn.reply or parts  # it grows where a caption stands for its media
        if self._is_dead:
            self._log(
                Action.TURN_DEAD, "nothing of the reply can be delivered; it can be retried",
                level=logging.ERROR,
            )  # fmt: skip
            return
        self._log_over()

    async def _hand_off(self, called: Mapping[str, Any]) -> None:
        """Call a human, after all that was to be said. Raises SendStopped."""
        await self._save_reply()
        asked = HandOff(
            **self._turn.held, reason=str(called["reason"]), summary=called.get("summary")
        )
        answer = await hand_off(self._shop.database, asked)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._log(Action.PAUSED, "paused: the AI asked for a human", source="ai")
        if answer.replied:
            self._log_replied()
        self._shop.wake_notices()

    async def _say(
        self,
        part: int,
        body: Part,
        as_it_is: Outgoing | None = None,
        *,
        before: tuple[Part, ...] = (),
    ) -> bool:
        """Send one part, or give it up where it can never be had; by voice unless `as_it_is`.

        `before` are those that it follows. False: nobody knows whether it left, and the turn is
        put aside.
        """
        message = in_writing = as_it_is or outgoing(body, self._turn, before)
        try:
            await self._stand()
            if as_it_is is None and self._shop.voices.speaks(self._turn):
                await self._save_reply()  # a voice takes seconds, and may end with the router
                message = await self._shop.voices.said(self._turn, self._line, body, message)
            if not message.has_substitute:
                await self._saying.type_first(body)
            message = await self._shop.files.filled(message, self._turn.tenant.tenant_id)
            speaker = reply_part(self._turn, part, self._line, self._unsaved)
            async with self._shop.media.filled(message, self._turn.tenant.tenant_id) as ready:
                self._sending = True
                sent = await self._shop.outbox.send(speaker, ready)
        except SendFailed as failed:
            if message.has_substitute and isinstance(failed.cause, MessageRefused):
                return await self._say(part, body, in_writing)
            if self._is_lost(failed):
                return await self._give_up(part, message, failed.cause)
            with suppress(SendStopped):  # what follows is refused as well
                await self._save_reply()  # the fence may not have been asked
            raise
        finally:
            self._sending = False
            if not isinstance(body, str) and "handoff" in body:
                self._shop.wake_notices()
        self._unsaved = None
        self._saying.said()
        if not isinstance(body, str) and "handoff" in body:
            self._log(Action.PAUSED, "paused: the AI asked for a human", source="ai")
        return not isinstance(sent, InDoubt)

    def _is_lost(self, failed: SendFailed) -> bool:
        """Whether this message can never be had, and another one may pass.

        A media that is away is waited for as long as the turn has attempts.
        """
        is_last = self._turn.attempt >= self._shop.rules.max_attempts
        cause = failed.cause
        return isinstance(cause, MessageRefused) or (is_last and isinstance(cause, MediaAway))

    async def _give_up(self, part: int, message: Outgoing, why: Exception) -> bool:
        """Have the state give up a part: what follows it is next. Raises SendStopped.

        False: nobody knows whether it left after all, and the turn is put aside.
        """
        try:
            await self._save_reply()
        except SendStopped as stopped:
            # Where the turn has ended with this part, give_up_part says how.
            if stopped.reason == _BOTH:
                raise
        asked = GiveUpPart(
            **self._turn.held,
            part=part,
            kind=message.kind,
            body=message.text,
            identity=message.identity,
            error=clean(str(why)),
        )
        answer = await give_up_part(self._shop.database, asked)
        if isinstance(answer, Refusal):
            if answer.refused in ("already_sent", "in_doubt"):  # a webhook has told of it
                return answer.refused == "already_sent"
            raise SendStopped(answer.refused)
        self._turn = self._turn.model_copy(update={"reply": answer.reply})
        self._is_dead, self._is_incomplete = answer.turn_state == "dead", True
        self._log(
            Action.EVOLUTION_SEND_FAILED, f"part {part + 1} ({message.kind}) is given up: {why}",
            level=logging.WARNING, turn_state=answer.turn_state,
        )  # fmt: skip
        self._shop.wake_notices()
        return True

    async def _go_on_without_reply(self) -> None:
        """Go on where parts have begun and no reply is written down.

        A flow in n8n has said something: that is finished. Or nothing has reached the phone: then
        it is made again, to everything that the contact has written by now.
        """
        if any(part.send_state == "sent" for part in self._turn.parts):
            await self._finish_flow()
            return
        answer = await begin_anew(self._shop.database, BeginAnew(**self._turn.held))
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        self._log(Action.TURN_RETRY, "nothing of the reply has left: it is made again")

    async def _finish_flow(self) -> None:
        """End what a flow has begun: send again the texts that never left, and close the turn.

        What else the flow would have said is not known, and from the start it would repeat itself.
        """
        for part in self._turn.parts:
            if part.send_state != "failed" or part.is_over:
                continue
            if not is_plain_text(part.kind, part.body, part.told_as):
                self._log(Action.EVOLUTION_SEND_FAILED, f"a {part.kind} of the flow is not sent")
            elif not await self._say(part.part, part.body, Outgoing.plain(part.body)):
                return
        asked = FinishTurn(**self._turn.held, reason="flow_settled")
        answer = await finish_turn(self._shop.database, asked)
        if isinstance(answer, Refusal) or answer.in_doubt:
            return
        self._is_incomplete = bool(answer.incomplete)
        self._log_over()

    async def _fail(
        self,
        error: LlmError | EvolutionError | NoPlace,
        kind: Kind,
        action: Action,
    ) -> None:
        cause, told = (
            cause_of(error, is_away=kind == "away"),
            clean(f"{type(error).__name__}: {error}"),
        )
        if isinstance(error, LlmError):
            await self._say_fallback(kind, cause, told)
        execution_id, execution_url = _execution_of(error)
        asked = FailTurn(
            **self._turn.held,
            kind=kind,
            execution_id=execution_id,
            execution_url=execution_url,
            away="llm" if isinstance(error, LlmError) else "evolution",
            error=told,
            cause=cause,
            retry_after=getattr(error, "retry_after", None),
            tokens=0 if _is_free(error) else None,
            max_attempts=self._shop.rules.max_attempts,
            base_seconds=self._shop.rules.retry_base,
            answer_within_minutes=self._shop.rules.answer_within_minutes,
        )
        answer = await fail_turn(self._shop.database, asked)
        state = answer.refused if isinstance(answer, Refusal) else answer.state
        self._log(
            action, f"{type(error).__name__}: {error}", level=logging.WARNING, turn_state=state
        )
        if state == "dead":
            self._log(Action.TURN_DEAD, "the turn is dead; it can be retried", level=logging.ERROR)
        if not isinstance(answer, Refusal) and (answer.outage or answer.handoff):
            if answer.outage:
                self._log(
                    Action.UNANSWERED,
                    f"customers get no answer: {told}",
                    level=logging.ERROR,
                    cause=cause,
                )
            self._shop.wake_notices()

    async def _say_fallback(self, kind: Kind, cause: Cause, told: str) -> None:
        """Send the tenant's fallback message, where it is to be; no failure of that counts."""
        message = self._turn.tenant.fallback_message
        if message is None or self._stopped:
            return
        failing = Failing(kind, cause, told, self._shop.rules.max_attempts)
        with suppress(SendFailed):
            await self._stand()
            self._sending = True
            await say_fallback(self._shop.outbox, self._turn.held, self._line, message, failing)
        self._sending = False

    def _log_over(self) -> None:
        if self._is_incomplete:
            self._log(Action.TURN_CANCELLED, "a part of it is not sent", reason="incomplete")
        else:
            self._log_replied()

    def _log_replied(self) -> None:
        self._log(
            Action.AI_REPLIED, "AI reply pipeline completed successfully",
            typed_seconds=round(self._saying.typed, 1),
        )  # fmt: skip

    async def _release(self) -> None:
        try:
            await release_turn(self._shop.database, ReleaseTurn(**self._turn.held))
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


def _kind_of_send(failed: SendFailed) -> Kind:
    if isinstance(failed.cause, MediaAway):
        return "transient"  # it is the media's own trouble: others are sent meanwhile
    return "away" if failed.is_away else "permanent"


def _execution_of(error: BaseException | None) -> tuple[str | None, str | None]:
    """Return n8n's execution that failed, and where people see it, if it was one."""
    while error is not None:
        if isinstance(error, LlmError) and error.execution is not None:
            return error.execution
        error = error.__cause__
    return None, None


def _is_free(error: Exception) -> bool:
    """Whether the failure certainly cost nothing."""
    return isinstance(error, LlmMisconfigured) or (isinstance(error, LlmAway) and error.is_free)
