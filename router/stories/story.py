"""A whole story: why there was an answer or not, and what happened, in order."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from router.state.calls.reading import TurnState
from router.state.calls.story import ToldTurn
from router.stories.answer import answer
from router.stories.sequence import in_sequence
from router.stories.words import says

HappeningKind = Literal[
    "message", "judged", "turn_made", "claimed", "handled", "attempt_ended", "send", "echo", "tick",
    "undelivered", "edited", "deleted", "human_wrote", "told_besides", "paused", "resumed",
    "retried", "answered_again", "closed",
]  # fmt: skip


class Happening(BaseModel):
    """Something that happened to a turn, or to a message."""

    at: datetime
    kind: HappeningKind
    says: str = Field(description="What happened, in words")
    facts: dict[str, Any] = Field(description="Ids, states, errors; never the text of a message")


class Story(BaseModel):
    """A turn's life, or what became of a message, in order."""

    answer: list[str] = Field(description="In short: why there was an answer, or why not")
    is_known: bool = Field(description="false: the tenant has no such message")
    turn_id: int | None = Field(description="The turn; null: the message has none")
    state: TurnState | None
    session_id: int | None
    happenings: list[Happening]


def story_of(told: ToldTurn) -> Story:
    """Return the state's story, put into words."""
    turn, message = told.turn, told.message
    return Story(
        answer=answer(told.as_told()),
        is_known=told.is_known,
        turn_id=None if turn is None else turn["id"],
        state=None if turn is None else turn["state"],
        session_id=(turn or message or {}).get("session_id"),
        happenings=[
            Happening(
                at=each["at"],
                kind=each["kind"],
                says=says(each),
                facts={name: fact for name, fact in each.items() if name not in ("at", "kind")},
            )
            for each in in_sequence(told.happenings)
        ],
    )
