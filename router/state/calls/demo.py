"""The demo business: database/schema/0810_demo.sql."""

from router.state.calls.model import Answer, Asked, Items, Values, call
from router.state.calls.tenants import FoundTenant
from router.state.database import Database


class DemoFound(Answer):
    """Whether there is a real tenant, and the id of the demo's tenant."""

    has_tenants: bool
    tenant_id: int | None


class BeginDemo(Asked):
    """The id and the settings of the demo's tenant."""

    tenant_id: int
    values: Values


class DemoEnded(Answer):
    """How many tenants of demos were deleted."""

    ended: int


class PassDemoTime(Asked):
    """The tenant whose pauses must expire."""

    tenant_id: int
    policy: Values


class DemoTimePassed(Answer):
    """The sessions whose pauses have expired, and can be ended."""

    session_ids: Items[int]


async def look_at_demo(database: Database) -> DemoFound:
    """Return whether there is a real tenant, and whether there is one of a demo."""
    return await call(database, "look_at_demo", None, DemoFound)


async def begin_demo(database: Database, asked: BeginDemo) -> FoundTenant:
    """Create the demo's tenant. Raises Conflict if a real tenant exists, and Invalid."""
    return await call(database, "begin_demo", asked, FoundTenant)


async def end_demo(database: Database) -> DemoEnded:
    """Delete the demo's tenant with all its messages."""
    return await call(database, "end_demo", None, DemoEnded)


async def pass_demo_time(database: Database, asked: PassDemoTime) -> DemoTimePassed:
    """Let the pauses of the demo's tenant expire now; other tenants are not affected."""
    return await call(database, "pass_demo_time", asked, DemoTimePassed)
