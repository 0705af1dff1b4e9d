"""The one way to the state: call a SQL function with one JSON argument, get JSON back.

`router.state.direct` carries the calls over PostgreSQL's own protocol, `router.state.postgrest`
over Supabase's REST API; `router.state.opening` chooses.
"""

from collections.abc import Mapping
from typing import Any, Protocol

Json = dict[str, Any]


class Database(Protocol):
    """Anything that carries a call of a SQL function to PostgreSQL."""

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """Call `public.<function>(argument)`.

        One call is one transaction. Raises NotFound, Conflict, Invalid, NotAllowed or UnknownCaller
        as the function says, and DatabaseAway when there was no answer (the call may have been
        carried out all the same).
        """
        ...


class Connected(Database, Protocol):
    """A database with a known number of calls that it carries at once."""

    @property
    def connections(self) -> int:
        """Return that number."""
        ...
