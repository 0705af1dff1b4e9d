"""Sends: the fence, and what is known of a send afterwards.

database/schema/0503_fence.sql, 0505_ends_of_sends.sql and 0507_doubts.sql.
"""

from typing import Any, Literal, TypeAlias

from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Ids,
    Items,
    Moment,
    Refusal,
    StoredInstance,
    Text,
    Values,
    call,
    call_or_refused,
)
from router.state.calls.reading import TurnState
from router.state.calls.turns import Cause, MadeReply
from router.state.database import Database

Outcome: TypeAlias = Literal["sent", "not_sent", "unknown"]


class Sending(Asked):
    """A message that is about to be sent, as every fence records it."""

    body: Text
    kind: str | None = None
    identity: str | None = None
    told_as: tuple[str, ...] | None = None
    upload_seconds: float | None = None


class BegunSend(Answer):
    """A send that passed the fence."""

    ok: bool
    message_id: int
    jid: str
    chosen_id: str | None = None


class SendRefused(Refusal):
    """The fence refused, perhaps because of an earlier message, which it names."""

    message_id: int | None = None
    wa_id: str | None = None
    jid: str | None = None
    kind: str | None = None
    body: str | None = None
    sent_at: Moment | None = None
    part: int | None = None
    by: str | None = None
    at: Moment | None = None


class BeginSend(Sending):
    """A part of a reply that is about to be sent, with the whole reply if it is not stored yet."""

    turn_id: int
    token: str
    part: int
    said_so_far: Text | None = None
    lease_seconds: float
    reply: MadeReply | None = None


async def begin_send(database: Database, asked: BeginSend) -> BegunSend | SendRefused:
    """Pass the fence for a part of a reply."""
    return await call_or_refused(database, "begin_send", asked, BegunSend, SendRefused)


class BeginAwaySend(Sending):
    """The away message: the business is closed until `opens_at`."""

    turn_id: int
    token: str
    opens_at: Moment
    lease_seconds: float


async def begin_away_send(database: Database, asked: BeginAwaySend) -> BegunSend | SendRefused:
    """Pass the fence for the away message, once in each closed stretch."""
    return await call_or_refused(database, "begin_away_send", asked, BegunSend, SendRefused)


class BeginFallbackSend(Sending):
    """The tenant's fallback message, sent before an attempt fails with `cause`."""

    turn_id: int
    token: str
    kind_of_failure: Literal["transient", "permanent", "away"]
    cause: Cause
    error: Text
    max_attempts: int
    lease_seconds: float


async def begin_fallback_send(
    database: Database, asked: BeginFallbackSend
) -> BegunSend | SendRefused:
    """Pass the fence for the fallback message, once per outage."""
    return await call_or_refused(database, "begin_fallback_send", asked, BegunSend, SendRefused)


class BegunHumanSend(BegunSend, StoredInstance):
    """A human's message that passed the fence, and the tenant's instance."""


class OfSend(Asked):
    """The send that a call is about."""

    tenant_id: int
    message_id: int


class FinishSend(OfSend):
    """A send that Evolution accepted, with its id."""

    wa_id: Text
    jid: Text | None = None
    status: Text | None = None
    policy: Values | None = None


class SendFinished(Answer):
    """The state of the send's turn; `id_taken`: another message has this id.

    `leaves_due`: a turn without a worker may be due. False: the send's turn is closed, and no other
    is due.
    """

    turn_state: str | None
    id_taken: bool | None = None
    leaves_due: bool = True


async def finish_send(database: Database, asked: FinishSend) -> SendFinished:
    """Record that a message of ours was sent."""
    return await call(database, "finish_send", asked, SendFinished)


class FailSend(OfSend):
    """A send that certainly did not happen; `given_up`: why this part can never be sent."""

    chosen_id: str | None = None
    given_up: Text | None = None
    policy: Values | None = None


async def fail_send(database: Database, asked: FailSend) -> Done:
    """Record that a message of ours was certainly not sent."""
    return await call(database, "fail_send", asked, Done)


class GiveUpPart(Asked):
    """A part of a reply that can never be sent, and why. A flow's send has no `part`."""

    turn_id: int
    token: str
    part: int | None = None
    kind: str
    body: Text
    identity: str | None = None
    text: Text | None = None
    error: Text


class PartGivenUp(Answer):
    """The turn's state, and its reply, in which a caption may replace its media."""

    ok: bool
    turn_state: TurnState
    reply: Items[str | dict[str, Any]] | None


async def give_up_part(database: Database, asked: GiveUpPart) -> PartGivenUp | Refusal:
    """Give up a part of a reply, so that the next ones are sent."""
    return await call_or_refused(database, "give_up_part", asked, PartGivenUp, Refusal)


class DoubtSend(OfSend):
    """A send of which nobody knows how it ended, why, and its attempt, if it has one."""

    turn_id: int | None = None
    token: str | None = None
    error: Text
    check_after: float


async def doubt_send(database: Database, asked: DoubtSend) -> Done | Refusal:
    """Record that nobody knows how a send ended."""
    return await call_or_refused(database, "doubt_send", asked, Done, Refusal)


class SettleSend(Asked):
    """What an attempt found out about a send of its turn."""

    turn_id: int
    token: str
    message_id: int
    outcome: Outcome
    wa_id: Text | None = None
    error: Text | None = None
    check_after: float
    give_up_hours: int
    late_seconds: float | None = None
    policy: Values | None = None


class SendSettled(Answer):
    """The turn's state; `id_taken`: another message has this id.

    `given_up`: the send was in doubt too often, so the next attempt skips it.
    """

    turn_state: str | None
    id_taken: bool | None = None
    given_up: bool | None = None


async def settle_send(database: Database, asked: SettleSend) -> SendSettled | Refusal:
    """Settle a send in doubt of a turn."""
    return await call_or_refused(database, "settle_send", asked, SendSettled, Refusal)


class ClaimDoubts(Asked):
    """How many sends in doubt to claim, and for how long."""

    limit: int
    lease_seconds: float
    after_seconds: float


class ClaimedDoubt(StoredInstance):
    """A send in doubt that belongs to no turn."""

    message_id: int
    session_id: int
    jids: Items[str]
    kind: str
    body: str
    told_as: Items[str] | None = None
    chosen_id: str | None = None
    identity: str | None = None
    send_began_at: Moment
    upload_seconds: float | None = None
    ours: Ids
    theirs: Ids


class ClaimedDoubts(Answer):
    """The claimed sends, and when the next one is due."""

    sends: Items[ClaimedDoubt]
    now: Moment
    next_due_at: Moment | None


async def claim_doubts(database: Database, asked: ClaimDoubts) -> ClaimedDoubts:
    """Claim sends in doubt that no turn looks up."""
    return await call(database, "claim_doubts", asked, ClaimedDoubts)


class SettleDoubt(Asked):
    """What was found out about a send that belongs to no turn."""

    tenant_id: int
    message_id: int
    outcome: Outcome
    wa_id: Text | None = None
    check_after: float
    give_up_hours: int
    late_seconds: float
    policy: Values | None = None


class DoubtSettled(Answer):
    """The doubt is settled, or looked up again later; `id_taken`: another message has the id."""

    ok: bool
    id_taken: bool | None = None


async def settle_doubt(database: Database, asked: SettleDoubt) -> DoubtSettled:
    """Settle a send in doubt that belongs to no turn."""
    return await call(database, "settle_doubt", asked, DoubtSettled)
