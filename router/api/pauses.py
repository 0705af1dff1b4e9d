"""Pausing and resuming, of a session or of a contact who may have none yet."""

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from router.api.dependencies import (
    Caller,
    PathId,
    TenantId,
    TheAbandon,
    TheDatabase,
    TheHashes,
    TheSettings,
    TheWake,
)
from router.api.models import PausedSession, ResumedSession, Session
from router.api.moments import Moment
from router.errors import Invalid
from router.logs.events import Action, log_event
from router.state.database import Json
from router.tenants.policy import policy
from router.whatsapp.numbers import contact_jids

router = APIRouter(tags=["pause and resume"])
_log = logging.getLogger(__name__)
_Reason = Annotated[str | None, Query(max_length=500)]
_Number = Annotated[str, Path(max_length=60, description="Phone number with country code, or JID")]


class PauseWish(BaseModel, extra="forbid"):
    """How long a pause is to hold; with neither `until` nor `indefinite`, RESUME_AFTER_HOURS."""

    until: Moment | None = None
    indefinite: bool | None = None
    reason: str | None = Field(default=None, max_length=500)


def _wish(
    *,
    until: Moment | None = None,
    indefinite: bool | None = None,
    reason: _Reason = None,
    body: PauseWish | None = None,
) -> PauseWish:
    """Take the wish from the query, the body, or both; the body counts where they differ."""
    query = PauseWish(until=until, indefinite=indefinite, reason=reason)
    wish = query.model_copy(update=body.model_dump(exclude_none=True)) if body else query
    if wish.until and wish.indefinite:
        raise Invalid("until and indefinite exclude each other: give one of them")
    return wish


_Wish = Annotated[PauseWish, Depends(_wish)]


class _Pauses:
    """Carries out what the four endpoints ask for."""

    def __init__(
        self,
        database: TheDatabase,
        settings: TheSettings,
        wake: TheWake,
        abandon: TheAbandon,
        caller: Caller,
        hashes: TheHashes,
    ) -> None:
        self._database = database
        self._settings = settings
        self._wake = wake
        self._abandon = abandon
        self._caller = caller
        self._hashes = hashes

    async def pause(self, function: str, who: Json, wish: PauseWish) -> PausedSession:
        """Call `function` for the session or contact that `who` names."""
        answer = await self._database.call(
            function, {**self._argument(who), **wish.model_dump(mode="json")}
        )
        paused = PausedSession.model_validate(answer)
        self._abandon(paused.session.id)
        self._say(Action.PAUSED, "paused by an operator", paused.session)
        return paused

    async def resume(self, function: str, who: Json) -> ResumedSession:
        """Call `function` for the session or contact that `who` names."""
        resumed = ResumedSession.model_validate(
            await self._database.call(function, self._argument(who))
        )
        if resumed.turn_id is not None:
            self._wake()
        if resumed.resumed:
            self._say(Action.RESUMED, "resumed by an operator", resumed.session)
        return resumed

    def _argument(self, who: Json) -> Json:
        return {**who, "source": "operator", "policy": policy(self._settings)}

    def _say(self, action: Action, message: str, session: Session) -> None:
        log_event(
            _log,
            action,
            message,
            tenant_id=session.tenant_id,
            session_id=session.id,
            source="operator",
            caller=self._caller,
            contact=self._hashes.in_log(session.identities),
        )


_ThePauses = Annotated[_Pauses, Depends()]


@router.post("/sessions/{session_id}/pause", summary="Silence the AI for a session")
async def pause_session(
    session_id: PathId, tenant_id: TenantId, wish: _Wish, pauses: _ThePauses
) -> PausedSession:
    """End like a takeover's pause, unless given an `until` of its own or `indefinite`.

    `until` replaces what was asked before; the time that a human's message asks for stays, and so
    may end it later: see `pause_ends_at`. A resume ends all.
    """
    who = {"tenant_id": tenant_id, "session_id": session_id}
    return await pauses.pause("pause_session", who, wish)


@router.post("/sessions/{session_id}/resume", summary="Let the AI answer again")
async def resume_session(
    session_id: PathId, tenant_id: TenantId, pauses: _ThePauses
) -> ResumedSession:
    """What the customer wrote meanwhile and nobody answered is answered if it is recent."""
    return await pauses.resume("resume_session", {"tenant_id": tenant_id, "session_id": session_id})


@router.post("/contacts/{number}/pause", summary="Silence the AI for a contact")
async def pause_contact(
    number: _Number, tenant_id: TenantId, wish: _Wish, pauses: _ThePauses
) -> PausedSession:
    """Work before the contact has ever written, and for every JID of the number."""
    who = {"tenant_id": tenant_id, "jids": contact_jids(number)}
    return await pauses.pause("pause_contact", who, wish)


@router.post("/contacts/{number}/resume", summary="Let the AI answer a contact again")
async def resume_contact(
    number: _Number, tenant_id: TenantId, pauses: _ThePauses
) -> ResumedSession:
    """The same as resuming the contact's session."""
    who = {"tenant_id": tenant_id, "jids": contact_jids(number)}
    return await pauses.resume("resume_contact", who)
