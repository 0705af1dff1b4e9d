"""Turns: to see what became of each reply, and to try a dead one again."""

import logging

from fastapi import APIRouter

from router.logs import Action, log_event
from router.operators.dependencies import (
    Caller,
    PathId,
    TenantId,
    TheDatabase,
    TheLists,
    TheWake,
)
from router.operators.models import Page, Turn, TurnWithMessages
from router.operators.queries import AskedTurns

router = APIRouter(tags=["turns"])
_log = logging.getLogger(__name__)


@router.get("/turns", summary="List a tenant's turns, newest first")
async def list_turns(query: AskedTurns, database: TheLists) -> Page[Turn]:
    """`state=dead` lists what needs a human."""
    return Page[Turn].model_validate(await database.call("list_turns", query.argument()))


@router.get("/turns/{turn_id}", summary="Read a turn")
async def get_turn(turn_id: PathId, tenant_id: TenantId, database: TheDatabase) -> TurnWithMessages:
    """With the messages that it answers, the parts of its reply, and its last error."""
    answer = await database.call("get_turn", {"tenant_id": tenant_id, "turn_id": turn_id})
    return TurnWithMessages.model_validate(answer["turn"])


@router.post("/turns/{turn_id}/retry", summary="Try a dead turn again")
async def retry_turn(
    turn_id: PathId, tenant_id: TenantId, database: TheDatabase, wake: TheWake, caller: Caller
) -> Turn:
    """Give it fresh attempts, due at once. 409: it is not dead, or its session is paused."""
    answer = await database.call("retry_turn", {"tenant_id": tenant_id, "turn_id": turn_id})
    turn = Turn.model_validate(answer["turn"])
    wake()
    log_event(
        _log,
        Action.TURN_RETRIED,
        "a dead turn gets fresh attempts",
        tenant_id=tenant_id,
        session_id=turn.session_id,
        turn_id=turn_id,
        caller=caller,
    )
    return turn
