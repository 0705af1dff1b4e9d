"""The tokens of flows. Each names a turn or a notice, and is valid for one attempt at it.

Only the exact spelling that was issued is a token. Python and PostgreSQL both also read other
spellings of UUIDs, and not the same ones, so their parsers are not used to recognise tokens.
"""

import re
from dataclasses import dataclass

from router.state.calls.model import Held, HeldDryTurn, HeldNotice

_TURN, _NOTICE, _DRY = "hft", "hfn", "hfd"
_FORM = re.compile(
    f"({_TURN}|{_NOTICE}|{_DRY})_([1-9][0-9]{{0,17}})"
    "_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)


@dataclass(frozen=True, slots=True)
class TurnToken:
    """The content of a turn's token. The state decides whether it is valid."""

    turn_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_TURN}_{self.turn_id}_{self.secret}"

    @property
    def held(self) -> Held:
        """What every SQL call about this attempt must contain."""
        return {"turn_id": self.turn_id, "token": self.secret}


@dataclass(frozen=True, slots=True)
class NoticeToken:
    """A notice's token; see TurnToken."""

    notice_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_NOTICE}_{self.notice_id}_{self.secret}"

    @property
    def held(self) -> HeldNotice:
        """What every SQL call about this attempt must contain."""
        return {"notice_id": self.notice_id, "token": self.secret}


@dataclass(frozen=True, slots=True)
class DryToken:
    """A test turn's token: valid only for that test turn, until it ends."""

    dry_turn_id: int
    secret: str

    def __str__(self) -> str:
        return f"{_DRY}_{self.dry_turn_id}_{self.secret}"

    @property
    def held(self) -> HeldDryTurn:
        """What every SQL call about this test turn must contain."""
        return {"dry_turn_id": self.dry_turn_id, "token": self.secret}


def read_token(text: str) -> TurnToken | None:
    """Return the turn's token that a flow sent; None if it is not one. Never raises."""
    parts = _parts(text, _TURN)
    return None if parts is None else TurnToken(*parts)


def read_notice_token(text: str) -> NoticeToken | None:
    """Return the notice's token that a flow sent; None if it is not one. Never raises."""
    parts = _parts(text, _NOTICE)
    return None if parts is None else NoticeToken(*parts)


def read_dry_token(text: str) -> DryToken | None:
    """Return the test turn's token that a flow sent; None if it is not one. Never raises."""
    parts = _parts(text, _DRY)
    return None if parts is None else DryToken(*parts)


def _parts(text: str, wanted: str) -> tuple[int, str] | None:
    found = _FORM.fullmatch(text)
    return None if found is None or found[1] != wanted else (int(found[2]), found[3])
