"""Test turns, of which nothing is sent: database/schema/0857_dry_turns.sql."""

from typing import Any

from router.state.calls.claimed_turn import TurnTenant
from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Items,
    Moment,
    Refusal,
    call,
    call_or_refused,
)
from router.state.database import Database


class BeginDryTurn(Asked):
    """The tenant, how long its flow has, and which flow, if it is not the tenant's own."""

    instance_name: str
    seconds: float
    flow: str | None = None


class BegunDryTurn(Answer):
    """A test turn, and its tenant as in a claimed turn, but without keys."""

    dry_turn_id: int
    token: str
    now: Moment
    tenant: TurnTenant


async def begin_dry_turn(database: Database, asked: BeginDryTurn) -> BegunDryTurn:
    """Begin a test turn. Raises NotFound, NotAllowed and Conflict."""
    return await call(database, "begin_dry_turn", asked, BegunDryTurn)


class NoteDryTurn(Asked):
    """What a flow has sent in its test turn, or how it ended the turn."""

    dry_turn_id: int
    token: str
    instance_name: str | None = None
    said: tuple[dict[str, Any], ...] | None = None
    ended: dict[str, Any] | None = None


async def note_dry_turn(database: Database, asked: NoteDryTurn) -> Done | Refusal:
    """Store what a flow did in its test turn."""
    return await call_or_refused(database, "note_dry_turn", asked, Done, Refusal)


class LookAtDryTurn(Asked):
    """The test turn; `close`: it ends now."""

    instance_name: str
    dry_turn_id: int
    close: bool | None = None


class DryTurnSoFar(Answer):
    """What the flow has sent so far, how it ended the turn, and whether the turn is over."""

    said: Items[dict[str, Any]]
    ended: dict[str, Any] | None
    is_over: bool


async def look_at_dry_turn(database: Database, asked: LookAtDryTurn) -> DryTurnSoFar:
    """Return what the flow has done so far. Raises NotFound."""
    return await call(database, "look_at_dry_turn", asked, DryTurnSoFar)
