"""Endpoints to see turns and their replies, and to retry dead turns."""

import logging
from typing import Annotated, Literal

from fastapi import Body
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TenantId, TheDatabase, TheLists, TheWake
from router.api.keyed import keyed
from router.api.moments import Moment
from router.api.queries import AskedTurns
from router.logs.events import Action, log_event
from router.state.calls import reading, retries
from router.state.calls.reading import Turn, TurnPage, TurnWithMessages
from router.state.calls.retries import Retries

router = keyed("turns")
_log = logging.getLogger(__name__)


class RetryRequest(BaseModel, extra="forbid"):
    """Which dead turns of a tenant to retry; without filters all."""

    reason: Literal["too_old", "failed"] | None = Field(
        default=None,
        description="too_old: not answered within ANSWER_WITHIN_MINUTES; failed: all others",
    )
    error_kind: str | None = Field(
        default=None,
        max_length=100,
        description="As the turn shows it: transient, permanent, away, crashed, unreadable, …",
    )
    since: Moment | None = Field(default=None, description="Died at this time or later")
    until: Moment | None = Field(default=None, description="Died before this time")
    limit: int = Field(default=50, ge=1, le=200, description="Turns in one call")
    cursor: str | None = Field(
        default=None, max_length=300, description="next_cursor of the call before"
    )


_Which = Annotated[RetryRequest, Body()]


@router.get("/turns", summary="List a tenant's turns, newest first")
async def list_turns(query: AskedTurns, database: TheLists) -> TurnPage:
    """`state=dead` lists what needs a human."""
    return await reading.list_turns(database, reading.ListTurns(**query.model_dump()))


@router.get("/turns/{turn_id:int}", summary="Get a turn")
async def get_turn(turn_id: PathId, tenant_id: TenantId, database: TheDatabase) -> TurnWithMessages:
    """With the messages that it answers, the parts of its reply, and its last error."""
    asked = reading.GetTurn(tenant_id=tenant_id, turn_id=turn_id)
    return (await reading.get_turn(database, asked)).turn


@router.post("/turns/{turn_id}/retry", summary="Retry a dead turn")
async def retry_turn(
    turn_id: PathId, tenant_id: TenantId, database: TheDatabase, wake: TheWake, caller: Caller
) -> Turn:
    """It gets fresh attempts, due at once. 409: it is not dead, or its session is paused."""
    asked = retries.RetryTurn(tenant_id=tenant_id, turn_id=turn_id)
    turn = (await retries.retry_turn(database, asked)).turn
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


@router.post("/turns/retry", summary="Retry many dead turns")
async def retry_turns(
    which: _Which, tenant_id: TenantId, database: TheDatabase, wake: TheWake, caller: Caller
) -> Retries:
    """Each gets fresh attempts, the newest first; for example after an outage.

    Call again with `next_cursor` while there is one. The call may be repeated safely: turns that it
    has retried are no longer dead.
    """
    asked = retries.RetryTurns(**which.model_dump(), tenant_id=tenant_id)
    done = await retries.retry_turns(database, asked)
    if done.retried:
        wake()
    log_event(
        _log,
        Action.TURN_RETRIED,
        f"{done.retried} dead turns get fresh attempts",
        tenant_id=tenant_id,
        left=done.left,
        caller=caller,
    )
    return done
