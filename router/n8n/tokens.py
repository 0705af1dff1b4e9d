"""The token that a flow holds: it names its turn, and is good for one attempt at it."""

from dataclasses import dataclass
from uuid import UUID

_PREFIX = "hft"


@dataclass(frozen=True, slots=True)
class TurnToken:
    """What the token says. Whether it may act is for the state to judge."""

    turn_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_PREFIX}_{self.turn_id}_{self.secret}"

    @property
    def held(self) -> dict[str, object]:
        """What every SQL call about this attempt must show."""
        return {"turn_id": self.turn_id, "token": self.secret}


def read_token(text: str) -> TurnToken | None:
    """Return the token that a flow has shown, or None if it is none. Never raises."""
    prefix, _, rest = text.strip().partition("_")
    number, _, secret = rest.partition("_")
    if prefix != _PREFIX or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    try:
        UUID(secret)
    except ValueError:
        return None
    return TurnToken(int(number), secret)
