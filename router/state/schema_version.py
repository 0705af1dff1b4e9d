"""Whether the database's schema is one that this program can work with. Pure."""

from collections.abc import Mapping

from router.state.failures import APPLY_SCHEMA

SCHEMA_VERSION = 2
"""What `check_database` says in the schema that this program needs; both are raised together."""


def schema_fault(answer: Mapping[str, object]) -> str | None:
    """Return why this program cannot work with the database that answered so, and the cure."""
    version = _number(answer, "schema_version")
    if version >= SCHEMA_VERSION:
        return too_new(answer)
    return (
        f"the database's schema is outdated (version {version}, this program needs"
        f" {SCHEMA_VERSION}): {APPLY_SCHEMA}"
    )


def too_new(answer: Mapping[str, object]) -> str | None:
    """Return why this program must not work with this database at all: it would do harm there."""
    serves_from = _number(answer, "serves_from")
    if serves_from <= SCHEMA_VERSION:
        return None
    return (
        f"the database's schema (version {_number(answer, 'schema_version')}) serves programs from"
        f" {serves_from} on, and this one is {SCHEMA_VERSION}: update HybridFlow, or restore the"
        " backup from before the upgrade (DEPLOYMENT.md, Going back)"
    )


def schema_advice(answer: Mapping[str, object]) -> str | None:
    """Return what is unwise though it works: a database that a later program has been at."""
    version = _number(answer, "schema_version")
    if version <= SCHEMA_VERSION:
        return None
    return (
        f"the database's schema is newer than this program (version {version}, this program knows"
        f" {SCHEMA_VERSION}): update HybridFlow"
    )


def _number(answer: Mapping[str, object], key: str) -> int:
    number = answer.get(key)
    return number if isinstance(number, int) else 0
