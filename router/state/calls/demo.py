"""The demo business: database/schema/0810_demo.sql."""

from router.state.calls.model import Answer, Asked, Items, Values, call
from router.state.calls.tenants import FoundTenant
from router.state.database import Database


class DemoFound(Answer):
    """Whether there is a real tenant, and which one is the demo's."""

    has_tenants: bool
    tenant_id: int | None


class BeginDemo(Asked):
    """Which id the demo's tenant is to have, and what else."""

    tenant_id: int
    values: Values


class DemoEnded(Answer):
    """How many tenants of a demo there were."""

    ended: int


class PassDemoTime(Asked):
    """Of which tenant the pauses are to run out."""

    tenant_id: int
    policy: Values


class DemoTimePassed(Answer):
    """The sessions whose pauses have run out, and may be ended."""

    session_ids: Items[int]


async def look_at_demo(database: Database) -> DemoFound:
    """Return whether a demo is wanted, and whether there is one."""
    return await call(database, "look_at_demo", None, DemoFound)


async def begin_demo(database: Database, asked: BeginDemo) -> FoundTenant:
    """Make the demo's tenant. Raises Conflict beside a real tenant, and Invalid."""
    return await call(database, "begin_demo", asked, FoundTenant)


async def end_demo(database: Database) -> DemoEnded:
    """Delete the demo's tenant, with all that was said there."""
    return await call(database, "end_demo", None, DemoEnded)


async def pass_demo_time(database: Database, asked: PassDemoTime) -> DemoTimePassed:
    """Let the time pass that the demo's pauses take; no other tenant's."""
    return await call(database, "pass_demo_time", asked, DemoTimePassed)
