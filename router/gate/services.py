"""What the gate needs of a router that has started."""

from dataclasses import dataclass

from router.gate.user_tokens import UserTokens
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class GateServices:
    """Who knows the credentials that callers show: `look_ups` is the state, for that alone.

    Turns of which something large is to be sent are looked at by the entrance of `turns`.
    """

    user_tokens: UserTokens
    look_ups: Database
    turns: Database
