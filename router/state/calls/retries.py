"""Dead turns that a person retries: database/schema/0450_retries.sql."""

from typing import Literal

from pydantic import Field

from router.state.calls.model import Answer, Asked, Moment, Text, call
from router.state.calls.reading import Turn
from router.state.calls.shown import AskedPage
from router.state.database import Database


class RetryTurn(Asked):
    """The turn to retry."""

    tenant_id: int
    turn_id: int


class RetriedTurn(Answer):
    """The turn after the call."""

    turn: Turn


class RetryTurns(AskedPage):
    """Filters for a tenant's dead turns."""

    tenant_id: int
    reason: Literal["too_old", "failed"] | None = None
    error_kind: Text | None = None
    since: Moment | None = None
    until: Moment | None = None


class Retries(Answer):
    """The result of retrying many dead turns."""

    retried: int = Field(description="How many got fresh attempts")
    left: int = Field(
        description="How many could not be retried: the session is paused, another turn answers the"
        " messages, or another call is retrying them"
    )
    next_cursor: str | None = Field(
        description="Send it with the same filters for more; null: these were all"
    )


async def retry_turn(database: Database, asked: RetryTurn) -> RetriedTurn:
    """Give a dead turn fresh attempts. Raises NotFound and Conflict."""
    return await call(database, "retry_turn", asked, RetriedTurn)


async def retry_turns(database: Database, asked: RetryTurns) -> Retries:
    """Give many dead turns fresh attempts. Raises NotFound and Invalid."""
    return await call(database, "retry_turns", asked, Retries)
