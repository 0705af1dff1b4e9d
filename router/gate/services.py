"""What the gate needs of a started router."""

from dataclasses import dataclass

from router.gate.user_tokens import UserTokens
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class GateServices:
    """Who knows callers' credentials: `look_ups` is the state, for that purpose only.

    Turns for which something large is to be sent are checked by the entrance of `turns`.
    """

    user_tokens: UserTokens
    look_ups: Database
    turns: Database
