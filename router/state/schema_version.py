"""Whether this program can work with the schema of the database. Pure."""

from router.state.calls.health import DatabaseChecked
from router.state.failures import APPLY_SCHEMA

SCHEMA_VERSION = 3
"""The schema version that this program needs; raise it together with that in `check_database`."""


def schema_fault(checked: DatabaseChecked) -> str | None:
    """Return why this program cannot work with this schema, and the fix; None: it can."""
    if checked.schema_version >= SCHEMA_VERSION:
        return too_new(checked)
    return (
        f"the database's schema is outdated (version {checked.schema_version}, this program needs"
        f" {SCHEMA_VERSION}): {APPLY_SCHEMA}"
    )


def too_new(checked: DatabaseChecked) -> str | None:
    """Return why this program must not use this database at all, because it would do harm there."""
    if checked.serves_from <= SCHEMA_VERSION:
        return None
    return (
        f"the database's schema (version {checked.schema_version}) serves programs from"
        f" {checked.serves_from} on, and this one is {SCHEMA_VERSION}: update HybridFlow, or"
        " restore the backup from before the upgrade (DEPLOYMENT.md, Going back)"
    )


def schema_advice(checked: DatabaseChecked) -> str | None:
    """Return a warning if a newer program has migrated the database: it works, but update."""
    if checked.schema_version <= SCHEMA_VERSION:
        return None
    return (
        "the database's schema is newer than this program (version"
        f" {checked.schema_version}, this program knows"
        f" {SCHEMA_VERSION}): update HybridFlow"
    )
