"""Gap repair: for which instances, and since when. database/schema/0809_gaps.sql."""

from typing import TypeAlias

from router.state.calls.model import Answer, Asked, Items, Moment, call
from router.state.database import Database

NameAndServer: TypeAlias = Items[str]
"""An instance's name, and the URL of its server."""


class GapsByActivity(Answer):
    """The instances of all active tenants, those with the most recent conversation first."""

    instances: Items[NameAndServer]


async def gaps_by_activity(database: Database) -> GapsByActivity:
    """Return the instances whose gaps must be repaired after a start."""
    return await call(database, "gaps_by_activity", None, GapsByActivity)


class GapStart(Asked):
    """The instance, how far clocks may differ, and how far to go back at most."""

    tenant_id: int
    margin_seconds: float
    look_back_hours: float


class GapFrom(Answer):
    """Since when messages may be missing, by the database's clock."""

    since: Moment
    now: Moment


async def gap_start(database: Database, asked: GapStart) -> GapFrom:
    """Return since when messages may be missing. Raises NotFound."""
    return await call(database, "gap_start", asked, GapFrom)


class CaughtUp(Asked):
    """The instance whose gap was repaired, and up to when."""

    tenant_id: int
    until: Moment


class CaughtUpAt(Answer):
    """Up to when all messages are known; None: there is no such tenant."""

    caught_up_at: Moment | None


async def caught_up(database: Database, asked: CaughtUp) -> CaughtUpAt:
    """Record that all messages sent before this time are known."""
    return await call(database, "caught_up", asked, CaughtUpAt)
