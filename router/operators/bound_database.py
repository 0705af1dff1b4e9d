"""The state as one caller sees it: every call passes SQL's `as_operator`."""

from collections.abc import Mapping
from dataclasses import dataclass

from router.operators.identity import CallerIdentity
from router.state.database import Database, Json


@dataclass(frozen=True, slots=True)
class CallersDatabase:
    """A `Database` in which the caller can do what its role allows, and is audited."""

    database: Database
    caller: CallerIdentity

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`; also raises UnknownCaller and NotAllowed."""
        asked = {"caller": self.caller.claim, "function": function, "argument": argument}
        answer = await self.database.call("as_operator", asked)
        result: Json = answer["result"]
        return result
