"""What may be said and spent: database/schema/0880_safety.sql."""

from typing import Literal

from router.state.calls.model import Asked, Refusable, Text, Values, call
from router.state.database import Database


class ReserveBudget(Asked):
    """An attempt, and how many tokens it may cost at most."""

    turn_id: int
    token: str
    tokens: int
    policy: Values


class BudgetReserved(Refusable):
    """`budget` says which one would be overshot."""

    ok: bool = False
    budget: str | None = None


async def reserve_budget(database: Database, asked: ReserveBudget) -> BudgetReserved:
    """Set aside what the attempt may cost, before the LLM is asked."""
    return await call(database, "reserve_budget", asked, BudgetReserved)


class RefuseReply(Asked):
    """An attempt whose reply may not be sent, by which rule, and what it cost."""

    turn_id: int
    token: str
    rule: str
    detail: Text
    provider: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class ReplyRefused(Refusable):
    """What the reply has become."""

    ok: bool = False
    outcome: Literal["handoff", "fallback_message"] | None = None
    session_id: int | None = None


async def refuse_reply(database: Database, asked: RefuseReply) -> ReplyRefused:
    """Note that the reply may not be sent."""
    return await call(database, "refuse_reply", asked, ReplyRefused)
