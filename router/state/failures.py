"""What PostgreSQL's error codes mean for a caller; the same over both transports. Pure.

A StateError may become a response, so its text is our own. Only messages that our functions raise
(`PT…`) are passed on unchanged. PostgreSQL's text goes to the log, but without anything that may
contain a row or a value: never DETAIL, and the message only for error classes whose messages
contain no values.
"""

from router.errors import (
    Conflict,
    DatabaseAway,
    DatabaseFault,
    DatabaseTooSlow,
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
# A read-only server is a replica after a failover, or its disk is full.
_AWAY = {
    "08": "the connection to the database broke off",
    "28": "the database does not take this user and password: correct DATABASE_URL",
    "3D": "the server has no such database: correct the name in DATABASE_URL",
    "53": "the database is out of connections, memory or disk",
    "57": "the database ended the call: it is starting or stopping, or the call took too long",
    "58": "the database server has a system error",
    "25006": "the database is read-only: it is a replica, or its disk is full",
    "40P01": "the call conflicted with others several times and was rolled back",
}
_WRONG_VALUE = {
    "22001": "a text is too long",
    "22003": "a number is out of range",
    "22007": "a time cannot be read",
    "22008": "a time is out of range",
    "22P02": "a value has the wrong type",
}
# Classes whose messages name tables, columns and constraints, but contain no values.
_SAYS_NO_VALUES = ("08", "0A", "23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
_MISSING = ("42883", "42P01", "3F000")  # function, table, schema
_UNSTORABLE = ("22P05", "22021")  # U+0000 in JSON, in text
_DEADLOCK = "40P01"
_TOO_SLOW = "57014"


def is_deadlock(code: str | None) -> bool:
    """Whether the whole transaction was rolled back to end a deadlock with another one."""
    return code == _DEADLOCK


def meaning(code: str, message: str, function: str) -> StateError | None:
    """Return the error of a SQLSTATE for the caller of `function`; None: a program fault."""
    if code in _RAISED:
        return _RAISED[code](message)
    for beginning, words in _AWAY.items():
        if code.startswith(beginning):
            kind = DatabaseTooSlow if code == _TOO_SLOW else DatabaseAway
            return kind(f"{function}: {words} ({code})")
    if code in _MISSING:
        return missing(function)
    if code in _UNSTORABLE:
        return unstorable()
    if code.startswith("22"):
        return Invalid(f"{_WRONG_VALUE.get(code, 'a value cannot be used')} ({code})")
    return None


def in_log(code: str, message: str) -> str:
    """Return what may be logged of an error: its message, if that cannot contain a row's values."""
    if code.startswith(("PGRST", *_SAYS_NO_VALUES)):
        return f"{message} ({code})"
    return f"SQLSTATE {code}"


def fault(code: str, message: str, function: str) -> DatabaseFault:
    """Return the error for a fault of the program."""
    return DatabaseFault(f"{function}: the database refused it: {in_log(code, message)}")


def missing(function: str) -> DatabaseAway:
    """Return the error for a schema that is missing or older than this program."""
    return DatabaseAway(
        f"{function}: the schema is missing or older than this version: {APPLY_SCHEMA}"
    )


def unstorable() -> Invalid:
    """Return the error for a text that PostgreSQL cannot store."""
    return Invalid(
        "a text has the character U+0000 or half of a surrogate pair, which the database cannot"
        " store: leave it out"
    )
