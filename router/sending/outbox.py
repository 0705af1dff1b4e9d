"""The way out: fence, send, record, in that order and with nothing in between.

The state has recorded every message before Evolution is asked, so its echo is always recognised.
Failing to record is not failing to send: a message that was sent is recorded as soon as the state
can be reached. A send is never interrupted, even if its caller is cancelled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, NoReturn, TypeVar

from router.errors import DatabaseAway, StateError
from router.evolution.errors import (
    EvolutionAway,
    EvolutionError,
    MessageRefused,
    SendInDoubt,
)
from router.evolution.exchange import Instance
from router.evolution.sends import EvolutionSends, SentMessage
from router.logs.events import Action, log_event
from router.running.stopping import STOP_GRACE, end_tasks
from router.sending.outcomes import ID_TAKEN, InDoubt, SendFailed, SendStopped, Sent
from router.sending.outgoing import Outgoing
from router.sending.speakers import Passed, Sending, Speaker
from router.sending.times import SendTimes, upload_seconds
from router.sharing.places import NoPlace, SendPlaces
from router.state.calls.model import Answer
from router.state.calls.sends import (
    DoubtSend,
    FailSend,
    FinishSend,
    OfSend,
    SendFinished,
    SendRefused,
    doubt_send,
    fail_send,
    finish_send,
)
from router.state.database import Database
from router.tenants.instance import InstanceKeys, TenantLine
from router.whatsapp.clean import clean
from router.whatsapp.jids import normalise_jid

_log = logging.getLogger(__name__)
_RECORDED_FOR = 3600.0  # seconds for which recording a sent message is retried
_NOTED_FOR = 30.0  # the same for a failed send or one in doubt; later the end of its lease shows it
_PATIENCE = 10.0  # seconds that a sender waits for the record; then it goes on without it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
_OfSend = TypeVar("_OfSend", bound=OfSend)
_CANNOT_REACT = "message/sendReaction"  # this request takes no id


@dataclass(frozen=True, slots=True)
class SendTerms:
    """What holds for every send.

    A send in doubt is first looked up after `check_after` seconds. `policy` is the deployment's;
    the state needs it after a send.
    """

    times: SendTimes
    check_after: float
    policy: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A send that passed the fence. Its request may begin until `begin_by` (monotonic)."""

    message_id: int
    tenant_id: int
    address: str
    chosen_id: str | None
    instance: Instance
    begin_by: float


class Outbox:
    """Sends for every speaker."""

    def __init__(
        self,
        database: Database,
        evolution: EvolutionSends,
        keys: InstanceKeys,
        places: SendPlaces,
        terms: SendTerms,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`doubted` is called whenever a send is in doubt; DoubtSettler sets it."""
        self.doubted: Callable[[], None] = lambda: None
        self._database = database
        self._evolution = evolution
        self._keys = keys
        self._places = places
        self._terms = terms
        self._clock = clock
        self._sends: set[asyncio.Task[Any]] = set()
        self._records: set[asyncio.Task[Any]] = set()

    async def send(self, speaker: Speaker, message: Outgoing) -> Sent | InDoubt:
        """Send a message, once. Raises SendStopped and SendFailed, and what the fence raises."""
        return await asyncio.shield(_kept(self._sends, self._carry_out(speaker, message)))

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Give the sends and records under way `grace` seconds to end.

        A send that is cut off is in doubt in the state; a later look finds out how it ended.
        """
        await end_tasks([*self._sends, *self._records], grace)
        for task in self._records:
            task.cancel()

    async def _carry_out(self, speaker: Speaker, message: Outgoing) -> Sent | InDoubt:
        instance = None if speaker.line is None else self._instance(speaker.line)
        try:
            async with self._places.taken(speaker.holder):
                begun = await self._begin(speaker, message, instance)
                if not isinstance(begun, _Begun):
                    return begun
                left = await self._post(begun, message)
        except NoPlace as error:
            raise SendFailed(error) from error
        if isinstance(left, SentMessage):
            return await self._record(begun, message, left)
        if not isinstance(left, SendInDoubt):
            await self._fail(begun, left, may_give_up=not message.has_substitute)
        return await self._doubt(speaker, begun, message, left)

    @staticmethod
    def _instance(line: TenantLine) -> Instance:
        try:
            return line.instance()
        except EvolutionError as error:
            raise SendFailed(error) from error

    async def _begin(
        self, speaker: Speaker, message: Outgoing, instance: Instance | None
    ) -> _Begun | Sent | InDoubt:
        """Pass the fence, or return what became of the same message before."""
        begin_by = self._clock() + self._terms.times.patience
        upload = upload_seconds(message.size)
        sending = Sending(
            {
                "body": message.text,
                "kind": message.kind,
                "identity": message.identity,
                "told_as": message.told_as,
                "upload_seconds": upload or None,
            },
            lease=self._terms.times.fence(upload, is_renewed=speaker.is_renewed),
            refers_to=message.refers_to,
        )
        passed = await speaker.fence(self._database, sending)
        if isinstance(passed, SendRefused):
            return _refusal(passed, message)
        begun = _Begun(
            message_id=passed.message_id,
            tenant_id=passed.line.tenant_id,
            address=passed.address,
            chosen_id=passed.chosen_id,
            instance=instance or await self._instance_begun(passed),
            begin_by=begin_by,
        )
        if message.is_emptied:
            # The send that this one repeats has failed meanwhile: the caller must retry with media.
            await self._fail(begun, EvolutionAway("the same message was not sent a moment ago"))
        if self._clock() > begin_by:
            # A human may have written since the fence was asked, or the send may be taken for lost.
            await self._fail(begun, EvolutionAway("the router stood still before the send"))
        return begun

    async def _instance_begun(self, passed: Passed) -> Instance:
        try:
            return self._keys.instance(passed.line)
        except EvolutionError as error:
            asked = FailSend(tenant_id=passed.line.tenant_id, message_id=passed.message_id)
            await self._note(fail_send, asked)
            raise SendFailed(error) from error

    async def _post(self, begun: _Begun, message: Outgoing) -> SentMessage | EvolutionError:
        chosen_id = None if message.path == _CANNOT_REACT else begun.chosen_id
        body = message.addressed(begun.address, chosen_id)
        seconds = self._terms.times.exchange(upload_seconds(message.size))
        try:
            return await self._evolution.send(
                begun.instance, message.path, body, seconds, begun.begin_by
            )
        except EvolutionError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the message may have left before any error
            return SendInDoubt(repr(error))

    async def _record(self, begun: _Begun, message: Outgoing, sent: SentMessage) -> Sent:
        jid = normalise_jid(sent.remote_jid)
        asked = FinishSend(
            tenant_id=begun.tenant_id,
            message_id=begun.message_id,
            wa_id=sent.wa_id,
            jid=jid,
            status=(sent.status or "pending").lower(),
            policy=self._terms.policy,
        )
        told = await self._note(finish_send, asked, _RECORDED_FOR)
        leaves_due = not isinstance(told, SendFinished) or told.leaves_due
        return Sent(sent.wa_id, jid, message.text, begun.message_id, leaves_due)

    async def _doubt(
        self, speaker: Speaker, begun: _Begun, message: Outgoing, error: SendInDoubt
    ) -> InDoubt:
        log_event(
            _log, Action.SEND_IN_DOUBT, f"it may be on the phone: {error}",
            level=logging.WARNING, tenant_id=begun.tenant_id, message_id=begun.message_id,
        )  # fmt: skip
        asked = DoubtSend(
            tenant_id=begun.tenant_id,
            message_id=begun.message_id,
            turn_id=None if speaker.turn is None else speaker.turn["turn_id"],
            token=None if speaker.turn is None else speaker.turn["token"],
            error=str(error),
            check_after=self._terms.check_after,
        )
        await self._note(doubt_send, asked)
        self.doubted()
        return InDoubt(begun.address, message.text, begun.message_id)

    async def _fail(
        self, begun: _Begun, error: EvolutionError, *, may_give_up: bool = True
    ) -> NoReturn:
        """Record that the message was not sent. Raises SendFailed."""
        is_given_up = may_give_up and isinstance(error, MessageRefused)
        asked = FailSend(
            tenant_id=begun.tenant_id,
            message_id=begun.message_id,
            chosen_id=begun.chosen_id,
            given_up=clean(str(error)) if is_given_up else None,
            policy=self._terms.policy,
        )
        await self._note(fail_send, asked)
        raise SendFailed(error) from error

    async def _note(
        self,
        door: Callable[[Database, _OfSend], Awaitable[Answer]],
        asked: _OfSend,
        seconds: float = _NOTED_FOR,
    ) -> Answer | None:
        """Tell the state how a send ended. This goes on after the caller has stopped waiting.

        Returns the state's answer, or None if there is none in time.
        """
        tell = partial(door, self._database, asked)
        telling = _kept(self._records, self._insist(tell, asked, seconds))
        await asyncio.wait({telling}, timeout=_PATIENCE)
        is_told = telling.done() and not telling.cancelled() and telling.exception() is None
        return telling.result() if is_told else None

    async def _insist(
        self, tell: Callable[[], Awaitable[Answer]], asked: OfSend, seconds: float
    ) -> Answer | None:
        give_up_at = self._clock() + seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await tell()
            except DatabaseAway as error:
                reason: Exception = error
            except StateError as error:
                _log_untold(f"{type(asked).__name__} was refused: {error}", asked)
                return None
            except Exception as error:  # noqa: BLE001 - a sent message must still be recorded
                reason = error
            else:
                if isinstance(answer, SendFinished) and answer.id_taken:
                    log_event(
                        _log, Action.SEND_SETTLED, ID_TAKEN, level=logging.WARNING,
                        message_id=asked.message_id, tenant_id=asked.tenant_id,
                    )  # fmt: skip
                return answer
            if self._clock() >= give_up_at:
                _log_untold(f"{type(asked).__name__} could not be told: {reason!r}", asked)
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _refusal(answer: SendRefused, message: Outgoing) -> Sent | InDoubt:
    """Return the result of the earlier, same send. Raises SendStopped for other refusals."""
    if answer.refused not in ("already_sent", "in_doubt"):
        raise SendStopped(answer.refused, answer)
    jid, body = answer.jid or "", answer.body or message.text
    if answer.refused == "already_sent" and answer.wa_id:
        return Sent(answer.wa_id, jid, body, answer.message_id)
    return InDoubt(jid, body, answer.message_id)


def _kept(tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task, and keep a reference until it ends, even if nobody waits for it."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(_heard)
    return task


def _heard(task: asyncio.Task[Any]) -> None:
    """Retrieve a task's exception, because its caller may have been cancelled."""
    if not task.cancelled():
        task.exception()


def _log_untold(message: str, asked: OfSend) -> None:
    log_event(
        _log, Action.UNEXPECTED, message,
        level=logging.ERROR, message_id=asked.message_id, tenant_id=asked.tenant_id,
    )  # fmt: skip
