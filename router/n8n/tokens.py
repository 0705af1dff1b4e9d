"""The tokens that flows hold: each names its turn or notice, and is good for one attempt at it."""

from dataclasses import dataclass
from uuid import UUID

_TURN, _NOTICE = "hft", "hfn"


@dataclass(frozen=True, slots=True)
class TurnToken:
    """What the token says. Whether it may act is for the state to judge."""

    turn_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_TURN}_{self.turn_id}_{self.secret}"

    @property
    def held(self) -> dict[str, object]:
        """What every SQL call about this attempt must show."""
        return {"turn_id": self.turn_id, "token": self.secret}


@dataclass(frozen=True, slots=True)
class NoticeToken:
    """The same of a notice."""

    notice_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_NOTICE}_{self.notice_id}_{self.secret}"

    @property
    def held(self) -> dict[str, object]:
        """What every SQL call about this attempt must show."""
        return {"notice_id": self.notice_id, "token": self.secret}


def read_token(text: str) -> TurnToken | None:
    """Return the turn's token that a flow has shown, or None if it is none. Never raises."""
    parts = _parts(text, _TURN)
    return None if parts is None else TurnToken(*parts)


def read_notice_token(text: str) -> NoticeToken | None:
    """Return the notice's token that a flow has shown, or None if it is none. Never raises."""
    parts = _parts(text, _NOTICE)
    return None if parts is None else NoticeToken(*parts)


def _parts(text: str, wanted: str) -> tuple[int, str] | None:
    prefix, _, rest = text.strip().partition("_")
    number, _, secret = rest.partition("_")
    if prefix != wanted or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    try:
        return int(number), str(UUID(secret))  # one spelling, which PostgreSQL takes
    except ValueError:
        return None
