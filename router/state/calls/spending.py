"""What tenants have spent: database/schema/0880_safety.sql."""

from datetime import date
from typing import Annotated

from pydantic import Field

from router.state.calls.model import Answer, Asked, Values, call
from router.state.database import Database


class GetSpending(Asked):
    """The tenant, and the deployment's maximum budgets."""

    tenant_id: int
    session_id: int | None = None
    policy: Values | None = None


class Spending(Answer):
    """What was spent on a day (UTC), including what is reserved for replies under way."""

    day: Annotated[date, Field(strict=False)]
    turns: int
    tokens: int
    daily_turns: int | None = Field(description="The limit; null: none")
    daily_tokens: int | None
    used_up: str | None = Field(
        description="The budget that is used up, if any: no more turns today"
    )


async def get_spending(database: Database, asked: GetSpending) -> Spending:
    """Return what was spent today. Raises NotFound."""
    return await call(database, "get_spending", asked, Spending)
