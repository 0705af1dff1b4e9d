"""What PostgreSQL's error codes mean for a caller: the same over either transport. Pure."""

from router.errors import (
    Conflict,
    DatabaseAway,
    Invalid,
    NotAllowed,
    NotFound,
    StateError,
    UnknownCaller,
)

APPLY_SCHEMA = "apply database/schema.sql or run `python -m scripts.migrate`"
_RAISED: dict[str, type[StateError]] = {
    "PT401": UnknownCaller,
    "PT403": NotAllowed,
    "PT404": NotFound,
    "PT409": Conflict,
    "PT422": Invalid,
}
# Connection, user or password, no such database, resources, operator intervention, the system's
# own errors; and a server that only reads: a replica after a failover, or one whose disk is full.
_AWAY_CLASSES = ("08", "28", "3D", "53", "57", "58", "25006")
_MISSING = ("42883", "42P01", "3F000")  # function, table, schema
_UNSTORABLE = ("22P05", "22021")  # U+0000 in JSON, in text
_DEADLOCK = "40P01"


def is_deadlock(code: str | None) -> bool:
    """Whether the transaction was rolled back whole only to let another one pass."""
    return code == _DEADLOCK


def meaning(code: str, message: str, function: str) -> StateError | None:
    """Return what a SQLSTATE says to the caller of `function`, or None: a fault of the program."""
    if code in _RAISED:
        return _RAISED[code](message)
    if code.startswith(_AWAY_CLASSES) or code == _DEADLOCK:
        return DatabaseAway(f"{function}: {message}")
    if code in _MISSING:
        return missing(function, message)
    if code in _UNSTORABLE:
        return unstorable()
    if code.startswith("22"):
        return Invalid(message)
    return None


def missing(function: str, message: str) -> DatabaseAway:
    """Return the error for a schema that is not there, or older than this program."""
    return DatabaseAway(
        f"{function}: the database has not this program's schema ({message}): {APPLY_SCHEMA}"
    )


def unstorable() -> Invalid:
    """Return the error for a text that PostgreSQL has no way to keep."""
    return Invalid(
        "a text has the character U+0000 or half of a surrogate pair, which the database cannot"
        " store: leave it out"
    )
