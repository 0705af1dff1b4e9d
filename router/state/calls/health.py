"""The condition of the state.

database/schema/0656_failures_in_a_row.sql, 0866_outages.sql, 0899_version.sql.
"""

from router.state.calls.model import Answer, Items, Moment, call
from router.state.database import Database


class DatabaseChecked(Answer):
    """Which schema is in place. An older or newer one may not report all of it."""

    schema_version: int = 0
    serves_from: int = 0
    now: Moment | None = None
    tenants: int | None = None
    turns_due: int | None = None


async def check_database(database: Database) -> DatabaseChecked:
    """Return which schema is in place, and what waits."""
    return await call(database, "check_database", None, DatabaseChecked)


class Undelivered(Answer):
    """How many tenants have replies that failed in a row."""

    tenants: int


async def count_undelivered(database: Database) -> Undelivered:
    """Return of how many tenants WhatsApp does not deliver the replies."""
    return await call(database, "count_undelivered", None, Undelivered)


class OutageCounted(Answer):
    """A cause for which customers get no answer: of how many tenants, and who can fix it.

    `deployments` counts those that only the people who run HybridFlow can fix.
    """

    cause: str
    tenants: int
    deployments: int


class OutagesCounted(Answer):
    """The causes for which customers get no answer now."""

    causes: Items[OutageCounted] = ()


async def count_outages(database: Database) -> OutagesCounted:
    """Return for which causes customers get no answer now."""
    return await call(database, "count_outages", None, OutagesCounted)
