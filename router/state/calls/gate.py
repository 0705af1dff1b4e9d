"""Whether a credential is valid: database/schema/0842_prove_caller.sql."""

from router.state.calls.model import Answer, Asked, Refusal, Values, call, call_or_refused
from router.state.database import Database


class ProveCaller(Asked):
    """The caller, in the form that `as_operator` takes."""

    caller: Values


class CallerProven(Answer):
    """A known caller, and its first tenant; None if it may act for all tenants."""

    tenant_id: int | None = None


async def prove_caller(database: Database, asked: ProveCaller) -> CallerProven:
    """Return whether a caller is known. Raises UnknownCaller."""
    return await call(database, "prove_caller", asked, CallerProven)


class ProveFlow(Asked):
    """The token of a turn, a notice or a test turn."""

    turn_id: int | None = None
    notice_id: int | None = None
    dry_turn_id: int | None = None
    token: str


class FlowProven(Answer):
    """The tenant of the turn, notice or test turn."""

    tenant_id: int


async def prove_flow(database: Database, asked: ProveFlow) -> FlowProven | Refusal:
    """Return the tenant to which a token belongs."""
    return await call_or_refused(database, "prove_flow", asked, FlowProven, Refusal)
