"""What may be said and spent: database/schema/0880_safety.sql."""

from typing import Literal

from router.state.calls.model import Asked, Done, Refusal, Text, Values, call_or_refused
from router.state.database import Database


class ReserveBudget(Asked):
    """An attempt, and the most tokens that it may use."""

    turn_id: int
    token: str
    tokens: int
    policy: Values


class BudgetRefused(Refusal):
    """A refusal; `budget` names the budget that would be exceeded, if that is the reason."""

    budget: str | None = None


async def reserve_budget(database: Database, asked: ReserveBudget) -> Done | BudgetRefused:
    """Reserve the tokens of an attempt before the LLM is asked."""
    return await call_or_refused(database, "reserve_budget", asked, Done, BudgetRefused)


class RefuseReply(Asked):
    """An attempt whose reply may not be sent, the rule that forbids it, and its cost."""

    turn_id: int
    token: str
    rule: str
    detail: Text | None = None
    say: Text | None = None
    provider: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class ReplyReplaced(Done):
    """What takes the reply's place."""

    outcome: Literal["handoff", "fallback_message"]
    session_id: int


async def refuse_reply(database: Database, asked: RefuseReply) -> ReplyReplaced | Refusal:
    """Record that an attempt's reply may not be sent."""
    return await call_or_refused(database, "refuse_reply", asked, ReplyReplaced, Refusal)
