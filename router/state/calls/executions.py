"""n8n's saved executions of erased contacts: database/schema/0860_executions.sql."""

from router.state.calls.model import Answer, Asked, Items, Text, call
from router.state.database import Database


class ClaimExecutionsToErase(Asked):
    """How many executions to claim, and in how many seconds each is due again."""

    limit: int | None = None
    retry_seconds: float | None = None


class ExecutionsToErase(Answer):
    """The executions that n8n must delete now, and how many wait in all."""

    execution_ids: Items[str]
    waiting: int


async def claim_executions_to_erase(
    database: Database, asked: ClaimExecutionsToErase
) -> ExecutionsToErase:
    """Claim executions that must be deleted now."""
    return await call(database, "claim_executions_to_erase", asked, ExecutionsToErase)


class SettleExecution(Asked):
    """An execution that n8n has deleted, or the reason why it has not."""

    execution_id: str
    error: Text | None = None


class ExecutionSettled(Answer):
    """Whether the execution was one of those to delete."""

    known: bool


async def settle_execution(database: Database, asked: SettleExecution) -> ExecutionSettled:
    """Record what n8n has done with an execution."""
    return await call(database, "settle_execution", asked, ExecutionSettled)
