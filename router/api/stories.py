"""Stories: the life of a turn, or the fate of a message, and why there was an answer or not."""

from typing import Annotated

from fastapi import Query

from router.api.dependencies import PathId, TenantId, TheDatabase
from router.api.keyed import keyed
from router.state.calls.story import TellTurn
from router.state.calls.story import tell_turn as ask_for_story
from router.stories.story import Story, story_of

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


@router.get("/turns/{turn_id:int}/story", summary="Get a turn's story")
async def get_turn_story(turn_id: PathId, tenant_id: TenantId, database: TheDatabase) -> Story:
    """From the webhooks that it answers to the ticks of its reply. Never the text of a message."""
    return story_of(await ask_for_story(database, TellTurn(tenant_id=tenant_id, turn_id=turn_id)))


@router.get("/messages/story", summary="Get a message's story")
async def get_message_story(wa_id: _WaId, tenant_id: TenantId, database: TheDatabase) -> Story:
    """Why it was answered or not; also for a message without a turn, or one that never arrived."""
    return story_of(await ask_for_story(database, TellTurn(tenant_id=tenant_id, wa_id=wa_id)))
