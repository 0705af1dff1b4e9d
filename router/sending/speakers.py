"""The speakers: which fence each one must pass, and what it has to prove there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, TypedDict

from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import BeginFlowSend, RestOfSend, begin_flow_send
from router.state.calls.model import Held, StoredInstance
from router.state.calls.notices import BeginNoticeSend, begin_notice_send
from router.state.calls.relays import (
    BeginRelaySend,
    ClaimedRelay,
    begin_relay_send,
    begin_word_send,
)
from router.state.calls.sends import (
    BeginAwaySend,
    BeginFallbackSend,
    BeginSend,
    BegunHumanSend,
    SendRefused,
    begin_away_send,
    begin_fallback_send,
    begin_send,
)
from router.state.calls.turns import Cause, MadeReply
from router.state.database import Database
from router.state.flow_tokens import NoticeToken, TurnToken
from router.tenants.instance import TenantLine
from router.whatsapp.jids import number_of


class Said(TypedDict):
    """A message to be sent, in the form that every fence takes."""

    body: str
    kind: str
    identity: str
    told_as: tuple[str, ...]
    upload_seconds: float | None


@dataclass(frozen=True, slots=True)
class Sending:
    """A send that wants to pass the fence.

    `lease` is how many seconds it may take, `refers_to` the id of the message that it quotes.
    """

    said: Said
    lease: float
    refers_to: str | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A send that passed the fence: its id, and where it goes."""

    message_id: int
    address: str
    chosen_id: str | None
    line: StoredInstance = field(repr=False)


Fence: TypeAlias = Callable[[Database, Sending], Awaitable[Passed | SendRefused]]


@dataclass(frozen=True, slots=True)
class Speaker:
    """The author of a message: the AI, a flow, a human, or HybridFlow itself.

    `fence` decides whether the message may be sent. `holder` names whose share of the places its
    sends use: the tenant, always by the same name, and never by what a caller says, such as the
    instance in a path. `line` is the tenant's; None if the fence answers with its instance. `turn`
    is what a turn's attempt presents when its send is in doubt. `is_renewed` means that it is an
    attempt of this process, whose lease is renewed while it sends.
    """

    fence: Fence = field(repr=False)
    holder: str | None
    line: TenantLine | None = field(default=None, repr=False)
    turn: Held | None = field(default=None, repr=False)
    is_renewed: bool = False


def reply_part(
    turn: ClaimedTurn, part: int, line: TenantLine, reply: MadeReply | None = None
) -> Speaker:
    """Return the AI as the speaker of one part of its reply to a turn.

    `reply` is the whole reply if it is not stored yet; the fence then stores it, too.
    """

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        asked = BeginSend(
            **turn.held, **sending.said, part=part, lease_seconds=sending.lease, reply=reply
        )
        begun = await begin_send(database, asked)
        if isinstance(begun, SendRefused):
            return begun
        return Passed(begun.message_id, number_of(begun.jid), begun.chosen_id, turn.tenant)

    return Speaker(fence, f"tenant {turn.tenant.tenant_id}", line, turn.held, is_renewed=True)


def closed(turn: ClaimedTurn, line: TenantLine, opens_at: datetime) -> Speaker:
    """Return the speaker of the away message, which is sent before a turn's reply is made."""

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        asked = BeginAwaySend(
            **turn.held, **sending.said, opens_at=opens_at, lease_seconds=sending.lease
        )
        begun = await begin_away_send(database, asked)
        if isinstance(begun, SendRefused):
            return begun
        return Passed(begun.message_id, number_of(begun.jid), begun.chosen_id, turn.tenant)

    return Speaker(fence, f"tenant {turn.tenant.tenant_id}", line, is_renewed=True)


@dataclass(frozen=True, slots=True)
class Failing:
    """How an attempt is about to fail: what `fail_turn` will be told."""

    kind: Literal["transient", "permanent", "away"]
    cause: Cause
    error: str
    max_attempts: int


def fallback(held: Held, line: TenantLine, failing: Failing) -> Speaker:
    """Return the speaker of the tenant's fallback message, sent before an attempt fails."""

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        asked = BeginFallbackSend(
            **held,
            **sending.said,
            kind_of_failure=failing.kind,
            cause=failing.cause,
            error=failing.error,
            max_attempts=failing.max_attempts,
            lease_seconds=sending.lease,
        )
        begun = await begin_fallback_send(database, asked)
        if isinstance(begun, SendRefused):
            return begun
        return Passed(begun.message_id, number_of(begun.jid), begun.chosen_id, line.stored)

    return Speaker(fence, f"tenant {line.stored.tenant_id}", line)


def flow(
    token: TurnToken,
    line: TenantLine,
    text: str,
    next_part: int,
    rest: tuple[RestOfSend, ...] = (),
    promise: str | None = None,
) -> Speaker:
    """Return a flow in n8n that answers the turn, as a speaker; `line` is the tenant's.

    `text` is all that a person can read in this message; it was checked when the turn's next part
    was `next_part`. `rest` are the messages after it: they are not lost if this one stays in doubt.
    `promise` says why a human is called, if the text promises one.
    """

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        asked = BeginFlowSend(
            **token.held,
            **sending.said,
            refers_to=sending.refers_to,
            text=text,
            next_part=next_part,
            rest=rest or None,
            promise=promise,
            lease_seconds=sending.lease,
        )
        begun = await begin_flow_send(database, asked)
        if isinstance(begun, SendRefused):
            return begun
        return Passed(begun.message_id, number_of(begun.jid), begun.chosen_id, line.stored)

    return Speaker(fence, f"tenant {line.stored.tenant_id}", line, token.held)


def notice(
    token: NoticeToken,
    tenant: str | None = None,
    *,
    instance_name: str | None = None,
    number: str | None = None,
) -> Speaker:
    """Return the speaker of a notice to the staff, from this instance to this number only."""

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        asked = BeginNoticeSend(
            **token.held,
            **sending.said,
            lease_seconds=sending.lease,
            instance_name=instance_name,
            number=number,
        )
        begun = await begin_notice_send(database, asked)
        if isinstance(begun, SendRefused):
            return begun
        # Evolution corrects a number that somebody typed; a JID is already correct.
        return Passed(begun.message_id, begun.number, begun.chosen_id, begun)

    return Speaker(fence, tenant)


def relayed(relay: ClaimedRelay) -> Speaker:
    """Return the human of the business who wrote the relay."""

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        return _passed(await begin_relay_send(database, _of_relay(relay, sending)))

    return Speaker(fence, f"tenant {relay.tenant_id}")


def word_to_staff(relay: ClaimedRelay) -> Speaker:
    """Return the speaker of the word back about a relay."""

    async def fence(database: Database, sending: Sending) -> Passed | SendRefused:
        return _passed(await begin_word_send(database, _of_relay(relay, sending)))

    return Speaker(fence, f"tenant {relay.tenant_id}")


def _of_relay(relay: ClaimedRelay, sending: Sending) -> BeginRelaySend:
    return BeginRelaySend(
        **sending.said, relay_id=relay.relay_id, token=relay.token, lease_seconds=sending.lease
    )


def _passed(begun: BegunHumanSend | SendRefused) -> Passed | SendRefused:
    if isinstance(begun, SendRefused):
        return begun
    return Passed(begun.message_id, number_of(begun.jid), begun.chosen_id, begun)
