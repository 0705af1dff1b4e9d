"""The one way to the state: call a SQL function with one JSON argument, get JSON back.

`router.state.direct` carries the calls over PostgreSQL's own protocol, `router.state.postgrest`
over Supabase's REST API; `router.state.opening` chooses.
"""

from collections.abc import Mapping
from typing import Any, Protocol

Json = dict[str, Any]


class Database(Protocol):
    """Anything that calls SQL functions in PostgreSQL."""

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """Call `public.<function>(argument)`.

        One call is one transaction. Raises NotFound, Conflict, Invalid, NotAllowed or UnknownCaller
        as the function's header says, and DatabaseAway if there was no answer. In that case the
        call may have been carried out.
        """
        ...


class Connected(Database, Protocol):
    """A database that can run a known number of calls at once."""

    @property
    def connections(self) -> int:
        """How many calls can run at once."""
        ...
