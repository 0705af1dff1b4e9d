"""The health of the state: its schema, replies that fail, outages.

database/schema/0656_failures_in_a_row.sql, 0866_outages.sql, 0899_version.sql.
"""

from router.state.calls.model import Answer, Items, Moment, call
from router.state.database import Database


class DatabaseChecked(Answer):
    """The schema's version, and what waits. An older or newer schema may not report everything."""

    schema_version: int = 0
    serves_from: int = 0
    now: Moment | None = None
    tenants: int | None = None
    turns_due: int | None = None


async def check_database(database: Database) -> DatabaseChecked:
    """Return the schema's version, and what waits."""
    return await call(database, "check_database", None, DatabaseChecked)


class Undelivered(Answer):
    """How many tenants have replies that were not delivered, several in a row."""

    tenants: int


async def count_undelivered(database: Database) -> Undelivered:
    """Return for how many tenants WhatsApp does not deliver the replies."""
    return await call(database, "count_undelivered", None, Undelivered)


class OutageCounted(Answer):
    """A cause of missing answers, and the number of tenants that it affects.

    `deployments` counts those where only the people who run HybridFlow can fix it.
    """

    cause: str
    tenants: int
    deployments: int


class OutagesCounted(Answer):
    """The causes of missing answers at this time."""

    causes: Items[OutageCounted] = ()


async def count_outages(database: Database) -> OutagesCounted:
    """Return why customers get no answer now."""
    return await call(database, "count_outages", None, OutagesCounted)
