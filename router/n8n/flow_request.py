"""One request of a flow at the gateway: read, checked, fenced, sent and answered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import monotonic
from typing import TypeAlias, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from router.errors import DatabaseAway
from router.evolution.errors import EvolutionAway, EvolutionError
from router.evolution.exchange import Instance
from router.gate.refusals import Refused, conflict, said_of
from router.http.bodies import TooMuch
from router.http.held_answers import HeldAnswer
from router.logs.events import Action, log_event
from router.n8n.answers import as_evolution, failure
from router.n8n.dependencies import FlowServices
from router.n8n.finishing import Done, done_of, finish
from router.n8n.handing_off import promise_in, speaker_of, words_of_flow
from router.n8n.media import emptied, filled, refusal
from router.n8n.received_media import GET_MEDIA_PATH
from router.n8n.requests import read_body, understood
from router.n8n.whitelist import PRESENCE_PATH, Asked
from router.outbound.media import NoMedia
from router.replies.texts import texts_of
from router.safety.guard import ReplyRefused
from router.sending.outcomes import InDoubt, SendFailed, SendStopped, Sent
from router.sending.outgoing import Outgoing
from router.sending.paths import VOICE_PATH
from router.sending.speakers import flow
from router.sharing.at_once import TooManyAtOnce
from router.state.calls.flows import LookAtTurn, RestOfSend, TurnOfFlow, look_at_turn
from router.state.calls.model import Refusal
from router.state.calls.sends import GiveUpPart, give_up_part
from router.state.database import Database, Json
from router.state.flow_tokens import TurnToken, read_token

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_Check: TypeAlias = Callable[..., Awaitable[None]]  # ReplyGuard.check, or check_again
_PRESENCE_MS = 1000
_ELSEWHERE = "there is no such message in this turn's conversation"
_SHORT = 2048  # bytes; a body up to this size is always parsed fast


async def _looked_at(database: Database, token: TurnToken, *, closed: bool = False) -> TurnOfFlow:
    """Return the token's turn; if `closed`, also a turn that it has ended. Raises Refused."""
    try:
        turn = await look_at_turn(database, LookAtTurn(**token.held, closed=closed or None))
    except DatabaseAway as error:
        raise Refused(503, str(error), "database_away") from error
    if isinstance(turn, Refusal):
        raise conflict(turn.refused)
    return turn


class FlowRequest:
    """One request of a flow, with its turn."""

    def __init__(self, services: FlowServices, token: TurnToken, turn: TurnOfFlow) -> None:
        self._services = services
        self._next_part = 0  # the turn's next part when the guard last checked the messages
        self._has_read = False
        self.token = token
        self.turn = turn
        self._line = services.keys.line(turn)  # its keys are opened once for the whole request

    @classmethod
    async def open(cls, request: Request, services: FlowServices, instance: str) -> "FlowRequest":
        """Find the turn by the request's token. Raises Refused."""
        token = read_token(request.headers.get("apikey", ""))
        if token is None:
            raise Refused(401, "the header apikey must be the turn's token", "token")
        turn = await _looked_at(services.database, token, closed=True)
        if turn.instance_name != instance:
            raise Refused(
                403,
                f"this turn is of the instance {turn.instance_name}",
                "instance",
            )
        return cls(services, token, turn)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count this request as one of its turn's during the block. Raises Refused."""
        try:
            with self._services.at_once.taken(self.token.turn_id):
                yield
        except TooManyAtOnce as error:
            why = f"{error}: wait until your other requests are answered"
            raise Refused(503, why, "too_many_at_once") from error

    async def carry_out(self, path: str, written: bytes) -> Response:
        """Do what the path says. Raises Refused."""
        if path == GET_MEDIA_PATH:
            return await self._give_media(written)
        asked, messages = await self._understood(path, written)
        done = done_of(asked)
        if self.turn.is_closed:
            return self._repeated(asked, messages)
        if path == PRESENCE_PATH:
            return await self._show_presence(asked)
        await self._check(messages, self._services.guard.check)
        with self._keeping() as keep:
            if all(self._is_begun(message) for message in messages):
                messages = tuple(emptied(asked, message) for message in messages)
            else:
                messages = await self._prepare(asked, messages, keep)
            try:
                for place in range(len(messages)):
                    sent = await self._send_first(messages[place:])
            except Refused as refused:
                if done is not None and refused.reason == "in_doubt":
                    await self._end(done)  # the turn ends when the doubt is settled
                raise
        if done is not None and (refusal := await self._end(done)) is not None:
            why = f"it is sent, but the turn does not end with it: {said_of(refusal)}"
            raise Refused(409, why, refusal)
        return as_evolution(sent, messages[-1])

    async def _end(self, done: Done) -> str | None:
        """End the turn: everything is said. Return why it cannot end, or None. Raises Refused."""
        try:
            ended = await finish(self._services, self.token.turn_id, self.token.held, done)
        except DatabaseAway as error:
            why = f"it is sent, but the turn has not ended yet: send the same again ({error})"
            raise Refused(503, why, "database_away") from error
        self._services.failing.breakers.heard_of()
        self._services.wake()
        return ended.refused if isinstance(ended, Refusal) else None

    def _repeated(self, asked: Asked, messages: tuple[Outgoing, ...]) -> JSONResponse:
        """Repeat the answer to the send that ended the turn. Raises Refused for another send."""
        last = messages[-1] if messages and asked.done is not None else None
        for sent in self.turn.sends:
            if last and sent.identity == last.identity and sent.send_state == "sent":
                before = Sent(sent.wa_id or "", self.turn.jid, sent.body, None)
                return as_evolution(before, emptied(asked, last))
        raise conflict("superseded")

    @contextmanager
    def _keeping(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts media in memory from their first byte. Raises Refused."""
        try:
            bodies = self._services.media_bodies
            with bodies.keeping_more(str(self.turn.tenant_id)) as keep:
                yield keep
        except TooMuch as error:
            why = "too many media are being sent: try again soon"
            raise Refused(503, why, "busy") from error

    async def _understood(self, path: str, written: bytes) -> tuple[Asked, tuple[Outgoing, ...]]:
        contact = tuple(self.turn.jids)
        if len(written) <= _SHORT:
            return understood(path, written, contact)
        return await self._beside(lambda: understood(path, written, contact))

    async def _beside(self, work: Callable[[], _T]) -> _T:
        """Do long work in a thread. Raises Refused."""
        tenant_id = self.turn.tenant_id
        try:
            return await self._services.bench.do(tenant_id, work, after_waiting=self._look_again)
        except TimeoutError as error:
            why = "too many long requests of flows are being read: try again soon"
            raise Refused(503, why, "busy") from error

    async def _look_again(self) -> None:
        """Look up the turn again. Raises Refused if it no longer needs this request."""
        self.turn = await _looked_at(self._services.database, self.token)

    async def _prepare(
        self, asked: Asked, messages: tuple[Outgoing, ...], keep: Callable[[int], None]
    ) -> tuple[Outgoing, ...]:
        """Do everything slow before the fence: fetch the media, wait for the requested delay.

        Time between the fence and the send is time in which a human could write.
        """
        until = monotonic() + asked.delay
        tenant_id = self.turn.tenant_id
        ready = []
        for each in messages:
            try:
                media = await filled(
                    asked, each, self._services.media, tenant_id, self._beside, keep
                )
                if media.path == VOICE_PATH:
                    sound = str(media.body["audio"])
                    keep(2 * len(sound))
                    await self._services.sounds.require(sound, tenant_id)
            except NoMedia as error:
                if not error.is_away:
                    await self._give_up(each, f"{asked.media}: {error}")
                raise refusal(asked, error) from error
            ready.append(media)
        await asyncio.sleep(max(0.0, until - monotonic()))
        return tuple(ready)

    async def _give_up(self, message: Outgoing, why: str) -> None:
        """Record that a message of the turn can never be sent. Raises Refused."""
        asked = GiveUpPart(
            **self.token.held,
            kind=message.kind,
            body=message.text,
            identity=message.identity,
            text=texts_of(message.body),
            error=why,
        )
        try:
            answer = await give_up_part(self._services.database, asked)
        except DatabaseAway as error:
            raise Refused(503, str(error), "database_away") from error
        if isinstance(answer, Refusal):
            raise conflict(answer.refused)

    def _is_begun(self, message: Outgoing) -> bool:
        """Whether the flow has begun to send the same before, and that did not certainly fail."""
        return any(
            sent.identity == message.identity and sent.send_state != "failed"
            for sent in self.turn.sends
        )

    async def _check(self, messages: tuple[Outgoing, ...], check: _Check) -> None:
        """Have the guard check the messages, unless this is a repeated request."""
        self._next_part = self.turn.next_part
        known = {sent.identity for sent in self.turn.sends}
        texts = [texts_of(each.body) for each in messages if each.identity not in known]
        if not texts:
            return
        try:
            speaker = speaker_of(self.turn, self.token.held, words=words_of_flow(self.turn))
            await check(speaker, "\n\n".join(texts), said=self.turn.said_so_far)
        except ReplyRefused as refused:
            self._services.wake()  # the turn may have a fallback message to send now
            raise conflict(refused.reason) from refused

    async def _give_media(self, written: bytes) -> Response:
        """Give the flow media of the conversation; nothing is sent to the contact."""
        if self.turn.is_closed:
            raise conflict("superseded")
        if self.turn.is_paused:
            raise conflict("paused")
        if len(written) > _SHORT:
            raise Refused(400, "message: it is asked for by its key alone", "message")
        with ExitStack() as stack:
            keep = stack.enter_context(self._keeping())
            answer = await self._services.received.give(
                self.token, self._instance(), read_body(written), keep
            )
            return HeldAnswer(answer, stack.pop_all().close)  # counted until the client has read it

    async def _show_presence(self, asked: Asked) -> JSONResponse:
        if self.turn.is_paused:
            raise conflict("paused")
        presence = str(asked.body.get("presence") or "composing")
        try:
            await self._services.presence.show(
                self._instance(),
                self.turn.jid,
                presence,
                round(asked.delay * 1000) or _PRESENCE_MS,
            )
        except EvolutionAway as error:
            raise Refused(503, str(error), "evolution_away") from error
        except EvolutionError as error:
            raise Refused(400, str(error), "evolution") from error
        return JSONResponse({"presence": presence}, status_code=201)

    async def _send_first(self, messages: tuple[Outgoing, ...]) -> Sent:
        """Send the first of the messages, which were checked together. Raises Refused.

        If the fence answers that more was said since the check, the messages are checked again,
        after what was said. This loop ends, because each round means that another send of the turn
        has passed.
        """
        while (sent := await self._send(messages[0], messages[1:])) is None:
            self.turn = await _looked_at(self._services.database, self.token)
            await self._check(messages, self._services.guard.check_again)
        return sent

    def _mark_as_read(self) -> None:
        """Mark as read what the turn answers, once its first message was sent, or may have been."""
        turn, has_read, self._has_read = self.turn, self._has_read, True
        if turn.unread and not has_read:
            self._services.courtesy.read_these(self._line, turn.jid, turn.unread)

    async def _send(self, message: Outgoing, rest: tuple[Outgoing, ...]) -> Sent | None:
        """Send one message; return None if more was said since the check. Raises Refused."""
        later = tuple(
            RestOfSend(body=each.text, kind=each.kind, identity=each.identity) for each in rest
        )
        text = "\n\n".join(texts_of(each.body) for each in (message, *rest))
        promised = promise_in(texts_of(message.body), self.turn)
        speaker = flow(self.token, self._line, text, self._next_part, later, promised)
        try:
            sent = await self._services.outbox.send(speaker, message)
        except SendStopped as stopped:
            if stopped.reason == "judge_again":
                return None
            if stopped.reason == "elsewhere":
                raise Refused(403, _ELSEWHERE, message.refers_in) from stopped
            raise conflict(stopped.reason) from stopped
        except SendFailed as failed:
            log_event(
                _log, Action.EVOLUTION_SEND_FAILED, str(failed), level=logging.WARNING, **self._who
            )
            raise failure(failed) from failed
        finally:
            if promised is not None:
                self._services.wake_notices()  # the fence may have made a handoff in any case
        self._mark_as_read()
        if isinstance(sent, InDoubt):
            raise conflict("in_doubt")
        if all(before.identity != message.identity for before in self.turn.sends):
            self._next_part += 1
        return replace(sent, jid=sent.jid or self.turn.jid)

    @property
    def _who(self) -> Json:
        return {"turn_id": self.token.turn_id, "tenant_id": self.turn.tenant_id}

    def _instance(self) -> Instance:
        try:
            return self._line.instance()
        except EvolutionError as error:
            raise Refused(401, str(error), "key") from error
