"""n8n's saved executions of people who were erased: database/schema/0860_executions.sql."""

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.database import Database


class ClaimExecutionsToErase(Asked):
    """How many, and in how many seconds each is due again."""

    limit: int | None = None
    retry_seconds: float | None = None


class ExecutionsToErase(Answer):
    """What n8n is to delete now, and how many wait in all."""

    execution_ids: Items[str]
    waiting: int


async def claim_executions_to_erase(
    database: Database, asked: ClaimExecutionsToErase
) -> ExecutionsToErase:
    """Take executions that are to be deleted now."""
    return await call(database, "claim_executions_to_erase", asked, ExecutionsToErase)


class SettleExecution(Asked):
    """An execution that n8n has deleted, or why it has not."""

    execution_id: str
    error: Text | None = None


class ExecutionSettled(Answer):
    """Whether it was one that is to be deleted."""

    known: bool


async def settle_execution(database: Database, asked: SettleExecution) -> ExecutionSettled:
    """Note what n8n has done."""
    return await call(database, "settle_execution", asked, ExecutionSettled)
