"""What the gate needs from a started router."""

from dataclasses import dataclass

from router.gate.user_tokens import UserTokens
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class GateServices:
    """The state, for checking callers' credentials: `look_ups` is used only for that.

    The turn of a large request is checked through `turns`, the entrance for turns.
    """

    user_tokens: UserTokens
    look_ups: Database
    turns: Database
