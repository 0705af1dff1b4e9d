"""Pausing and resuming a session, or a contact who may have no session yet."""

import logging
from typing import Annotated, TypedDict

from fastapi import Depends, Path, Query
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
from router.api.keyed import keyed
from router.api.moments import Moment
from router.errors import Invalid
from router.logs.events import Action, log_event
from router.state.calls import pauses as calls
from router.state.calls.model import Values
from router.state.calls.pauses import PausedSession, ResumedSession
from router.state.calls.reading import PauseSource, Session
from router.tenants.policy import policy
from router.whatsapp.numbers import contact_jids

router = keyed("pause and resume")
_log = logging.getLogger(__name__)
_Reason = Annotated[str | None, Query(max_length=500)]
_Number = Annotated[str, Path(max_length=60, description="Phone number with country code, or JID")]


class PauseRequest(BaseModel, extra="forbid"):
    """How long a pause lasts; with neither `until` nor `indefinite`, RESUME_AFTER_HOURS."""

    until: Moment | None = None
    indefinite: bool | None = None
    reason: str | None = Field(default=None, max_length=500)


def _wish(
    *,
    until: Moment | None = None,
    indefinite: bool | None = None,
    reason: _Reason = None,
    body: PauseRequest | None = None,
) -> PauseRequest:
    """Take the pause's end from the query, the body, or both; the body wins if they differ."""
    query = PauseRequest(until=until, indefinite=indefinite, reason=reason)
    wish = query.model_copy(update=body.model_dump(exclude_none=True)) if body else query
    if wish.until and wish.indefinite:
        raise Invalid("give either until or indefinite, not both")
    return wish


_Wish = Annotated[PauseRequest, Depends(_wish)]


class _ByOperator(TypedDict):
    """The arguments that every pause and resume of the API has in common."""

    source: PauseSource
    policy: Values


class _Pauses:
    """What the four endpoints share: the arguments, the side effects, and the log."""

    def __init__(
        self,
        database: TheDatabase,
        settings: TheSettings,
        wake: TheWake,
        abandon: TheAbandon,
        caller: Caller,
        hashes: TheHashes,
    ) -> None:
        self.database = database
        self._settings = settings
        self._wake = wake
        self._abandon = abandon
        self._caller = caller
        self._hashes = hashes

    @property
    def asked(self) -> _ByOperator:
        """Return the caller, and the settings that determine the end of a pause."""
        return {"source": "operator", "policy": policy(self._settings)}

    def paused(self, paused: PausedSession) -> PausedSession:
        """Stop a reply that is being made for the session, and log the pause."""
        self._abandon(paused.session.id)
        self._say(Action.PAUSED, "paused by an operator", paused.session)
        return paused

    def resumed(self, resumed: ResumedSession) -> ResumedSession:
        """Wake the dispatcher, so that waiting messages are answered, and log the resume."""
        if resumed.turn_id is not None:
            self._wake()
        if resumed.resumed:
            self._say(Action.RESUMED, "resumed by an operator", resumed.session)
        return resumed

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


@router.post("/sessions/{session_id}/pause", summary="Pause the AI in a session")
async def pause_session(
    session_id: PathId, tenant_id: TenantId, wish: _Wish, pauses: _ThePauses
) -> PausedSession:
    """The pause ends like a takeover's, unless `until` or `indefinite` is given.

    `until` replaces an earlier one. A human's message can make the pause longer, see
    `pause_ends_at`. A resume ends all pauses of the session.
    """
    asked = calls.PauseSession(
        tenant_id=tenant_id, session_id=session_id, **pauses.asked, **wish.model_dump()
    )
    return pauses.paused(await calls.pause_session(pauses.database, asked))


@router.post("/sessions/{session_id}/resume", summary="Resume the AI in a session")
async def resume_session(
    session_id: PathId, tenant_id: TenantId, pauses: _ThePauses
) -> ResumedSession:
    """Recent messages that nobody answered during the pause are answered."""
    asked = calls.ResumeSession(tenant_id=tenant_id, session_id=session_id, **pauses.asked)
    return pauses.resumed(await calls.resume_session(pauses.database, asked))


@router.post("/contacts/{number}/pause", summary="Pause the AI for a contact")
async def pause_contact(
    number: _Number, tenant_id: TenantId, wish: _Wish, pauses: _ThePauses
) -> PausedSession:
    """Works before the contact has ever written, and for every JID of the number."""
    asked = calls.PauseContact(
        tenant_id=tenant_id, jids=contact_jids(number), **pauses.asked, **wish.model_dump()
    )
    return pauses.paused(await calls.pause_contact(pauses.database, asked))


@router.post("/contacts/{number}/resume", summary="Resume the AI for a contact")
async def resume_contact(
    number: _Number, tenant_id: TenantId, pauses: _ThePauses
) -> ResumedSession:
    """The same as resuming the contact's session."""
    asked = calls.ResumeContact(tenant_id=tenant_id, jids=contact_jids(number), **pauses.asked)
    return pauses.resumed(await calls.resume_contact(pauses.database, asked))
