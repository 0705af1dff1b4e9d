"""Stories: the life of a turn, or the fate of a message, and why there was an answer or not."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from router.api.dependencies import PathId, TenantId, TheDatabase
from router.api.keyed import keyed
from router.api.story_answer import answer
from router.api.story_sequence import in_sequence
from router.api.story_words import says
from router.state.calls.reading import TurnState
from router.state.calls.story import TellTurn, ToldTurn
from router.state.calls.story import tell_turn as ask_for_story

router = keyed("turns")
_WaId = Annotated[
    str,
    Query(
        min_length=1,
        max_length=250,
        pattern="^[!-~]+$",
        description="The message's id, as WhatsApp and Evolution have it (key.id)",
    ),
]
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


@router.get("/turns/{turn_id:int}/story", summary="Get a turn's story")
async def get_turn_story(turn_id: PathId, tenant_id: TenantId, database: TheDatabase) -> Story:
    """From the webhooks that it answers to the ticks of its reply. Never the text of a message."""
    return story_of(await ask_for_story(database, TellTurn(tenant_id=tenant_id, turn_id=turn_id)))


@router.get("/messages/story", summary="Get a message's story")
async def get_message_story(wa_id: _WaId, tenant_id: TenantId, database: TheDatabase) -> Story:
    """Why it was answered or not; also for a message without a turn, or one that never arrived."""
    return story_of(await ask_for_story(database, TellTurn(tenant_id=tenant_id, wa_id=wa_id)))
