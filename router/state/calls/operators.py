"""The calls that callers make over the API: each is checked, done and audited in one transaction.

database/schema/0836_operators.sql.
"""

from typing import Literal, Required, TypedDict

from router.state.calls.model import Answer, Asked, Values, call
from router.state.database import Database, Json


class Claim(TypedDict, total=False):
    """The caller: `kind` decides which other fields there are."""

    kind: Required[Literal["deployment", "script", "key", "user"]]
    name: str
    key_hash: str
    user_id: str


class AsOperator(Asked):
    """The caller, the function, and its argument."""

    caller: Values
    function: str
    argument: Values | None = None


class DoneForCaller(Answer):
    """The caller's name, and the function's answer."""

    caller: str
    result: Json


async def as_operator(database: Database, asked: AsOperator) -> DoneForCaller:
    """Call a function for a caller. Raises UnknownCaller, NotAllowed, and the function's errors."""
    return await call(database, "as_operator", asked, DoneForCaller)
