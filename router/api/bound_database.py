"""The state as one caller sees it: every call goes through SQL's `as_operator`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from router.errors import TooSlow
from router.gate.identity import CallerIdentity
from router.state.calls.operators import AsOperator, as_operator
from router.state.database import Database, Json


@dataclass(frozen=True, slots=True)
class CallersDatabase:
    """A `Database` that allows what the caller's role allows, and writes the audit log."""

    database: Database
    caller: CallerIdentity

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`; also raises UnknownCaller and NotAllowed."""
        asked = AsOperator(caller=self.caller.claim, function=function, argument=argument)
        return (await as_operator(self.database, asked)).result


@dataclass(frozen=True, slots=True)
class Brief:
    """A `Database` for reads that may be large; it stops a call after some seconds."""

    database: Database
    seconds: float = 5.0

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`; also raises TooSlow."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self.database.call(function, argument)
        except TimeoutError as error:
            raise TooSlow(
                f"the database looked for {self.seconds:g} s: narrow the search (a shorter time, a"
                " session, a whole number), or try again later"
            ) from error
