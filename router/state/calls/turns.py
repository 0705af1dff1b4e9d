"""Turns, from their claim to their end.

database/schema/0425_claims.sql, 0436_replies.sql, 0440_turn_ends.sql and 0899_version.sql.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import SkipValidation

from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Items,
    Moment,
    NotRead,
    Refusal,
    Text,
    call,
    call_or_refused,
    each_by_itself,
)
from router.state.database import Database


class ClaimTurns(Asked):
    """The claiming worker, how many turns it takes, and each tenant's limits."""

    limit: int
    lease_seconds: float
    max_attempts: int
    history_limit: int
    worker: str
    after_tenant: int | None = None
    tenant_max: int | None = None
    n8n_max_in_flight: int | None = None
    in_n8n: dict[str, int] | None = None
    ids_in_n8n: tuple[int, ...] | None = None
    not_in_n8n: tuple[int, ...] | None = None
    own: dict[str, int] | None = None
    own_max: int | None = None
    sitting: dict[str, int] | None = None
    own_times: float | None = None
    answer_within_minutes: float | None = None
    objects: bool | None = None
    without_n8n: bool | None = None


class UnreadableTurn(Answer):
    """A turn that was put off, because the state could not assemble its context."""

    turn_id: int
    tenant_id: int
    error: str


class EndedTurn(Answer):
    """A turn that the claim ended."""

    turn_id: int
    tenant_id: int
    session_id: int


ClaimedOrNot: TypeAlias = ClaimedTurn | NotRead


class ClaimedTurns(Answer):
    """The claimed turns. One that cannot be read does not affect the others."""

    turns: Annotated[tuple[ClaimedOrNot, ...], each_by_itself(ClaimedTurn, "turn_id")]
    unreadable: Items[UnreadableTurn] = ()
    too_old: Items[EndedTurn]
    exhausted: Items[EndedTurn] = ()
    now: Moment
    after_tenant: int
    more: bool
    taken: int
    next_due_at: Moment | None
    left: bool = True
    n8n_full: bool = False


async def claim_turns(database: Database, asked: ClaimTurns) -> ClaimedTurns:
    """Claim due turns, each for one attempt."""
    return await call(database, "claim_turns", asked, ClaimedTurns)


class MadeReply(Asked):
    """A whole reply, its maker, and its cost. A part is a text, or an object: see `Part`.

    If a flow made the reply, `execution_id` and `execution_url` are n8n's.
    """

    parts: SkipValidation[tuple[str | Mapping[str, object], ...]]
    handler: Literal["n8n", "fallback"]
    provider: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    execution_id: str | None = None
    execution_url: str | None = None


class SaveReply(MadeReply):
    """An attempt, and the reply that it made."""

    turn_id: int
    token: str


async def save_reply(database: Database, asked: SaveReply) -> Done | Refusal:
    """Store a reply before any of it is sent."""
    return await call_or_refused(database, "save_reply", asked, Done, Refusal)


Cause: TypeAlias = Literal[
    "account_empty",
    "account_refused",
    "llm_away",
    "n8n_away",
    "misconfigured",
    "flow_failed",
    "model_refused",
    "failed",
    "line_away",
    "send_failed",
]
"""Why an attempt made no answer: see `hybridflow.endings`."""


class FailTurn(Asked):
    """An attempt that failed, why, and when it may be tried again."""

    turn_id: int
    token: str
    kind: Literal["transient", "permanent", "away"]
    error: Text
    away: Literal["llm", "evolution"] | None = None
    retry_after: float | None = None
    tokens: int | None = None
    message_id: int | None = None
    check_after: float | None = None
    max_attempts: int
    base_seconds: float
    answer_within_minutes: float | None = None
    cause: Cause | None = None
    execution_id: str | None = None
    execution_url: str | None = None


class TurnFailed(Answer):
    """The turn's state now, and when it is tried again.

    `outage`: the cause of an outage that begins with this failure; `handoff`: a human is called.
    """

    state: str
    run_after: Moment | None = None
    outage: Text | None = None
    handoff: bool | None = None


async def fail_turn(database: Database, asked: FailTurn) -> TurnFailed | Refusal:
    """End a failed attempt."""
    return await call_or_refused(database, "fail_turn", asked, TurnFailed, Refusal)


class BeginAnew(Asked):
    """An attempt."""

    turn_id: int
    token: str


async def begin_anew(database: Database, asked: BeginAnew) -> Done | Refusal:
    """Discard a reply of which nothing is on the phone or in doubt, so that it is made again."""
    return await call_or_refused(database, "begin_anew", asked, Done, Refusal)


class HeldTurn(Asked):
    """An attempt under way."""

    turn_id: int
    token: str


class RenewTurns(Asked):
    """The turns of a worker, and the length of their new leases."""

    turns: tuple[HeldTurn, ...]
    worker: str
    lease_seconds: float


class TurnsRenewed(Answer):
    """The turns whose leases are lost: they are closed, or another attempt has them."""

    lost: Items[int]


async def renew_turns(database: Database, asked: RenewTurns) -> TurnsRenewed:
    """Renew the leases of a worker's turns."""
    return await call(database, "renew_turns", asked, TurnsRenewed)


class ReleaseTurn(Asked):
    """An attempt."""

    turn_id: int
    token: str


async def release_turn(database: Database, asked: ReleaseTurn) -> Done | Refusal:
    """Give a turn back unchanged."""
    return await call_or_refused(database, "release_turn", asked, Done, Refusal)


class FinishTurn(Asked):
    """An attempt that has nothing more to say, why, and what it cost.

    `unanswered`: if it has said nothing, it is cancelled and counts as no reply.
    """

    turn_id: int
    token: str
    reason: Text | None = None
    unanswered: bool | None = None
    check_after: float | None = None
    provider: Text | None = None
    model: Text | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class TurnFinished(Done):
    """The turn is closed (`already`: it was before), or stays open because a send is `in_doubt`.

    `silent`: nothing of it is on the phone. `incomplete`: some part of it is not.
    """

    already: bool | None = None
    in_doubt: bool | None = None
    silent: bool | None = None
    incomplete: bool | None = None


async def finish_turn(database: Database, asked: FinishTurn) -> TurnFinished | Refusal:
    """Close a turn with nothing more to say."""
    return await call_or_refused(database, "finish_turn", asked, TurnFinished, Refusal)


class CallRouters(Asked):
    """The calling router, if it cannot listen: others that cannot listen read it in the changes."""

    by: str | None = None


async def call_routers(database: Database, asked: CallRouters) -> Done:
    """Call other routers, because this one has no free seat for a due turn."""
    return await call(database, "call_routers", asked, Done)
