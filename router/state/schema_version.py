"""Whether the database's schema is the one that this program was written for. Pure."""

from collections.abc import Mapping

from router.state.failures import APPLY_SCHEMA

SCHEMA_VERSION = 2
"""What `check_database` says in the schema that this program needs; both are raised together."""


def schema_fault(answer: Mapping[str, object]) -> str | None:
    """Return why this program cannot work with the database that answered so, and the cure."""
    version = _version(answer)
    if version >= SCHEMA_VERSION:
        return None
    return (
        f"the database's schema is outdated (version {version}, this program needs"
        f" {SCHEMA_VERSION}): {APPLY_SCHEMA}"
    )


def schema_advice(answer: Mapping[str, object]) -> str | None:
    """Return what is unwise though it works: a database that a later program has been at."""
    version = _version(answer)
    if version <= SCHEMA_VERSION:
        return None
    return (
        f"the database's schema is newer than this program (version {version}, this program knows"
        f" {SCHEMA_VERSION}): update HybridFlow"
    )


def _version(answer: Mapping[str, object]) -> int:
    version = answer.get("schema_version")
    return version if isinstance(version, int) else 0
