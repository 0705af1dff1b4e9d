"""Query parameters of the lists.

An unknown parameter is refused: a misspelt filter would otherwise look like a list of everything.
"""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from router.api.moments import Moment
from router.state.calls.handoffs import HandoffState
from router.state.calls.reading import Sender, TurnState

LARGEST_ID = 2**63 - 1
_MessageSince = Annotated[
    Moment | None, Field(description="At this time or later, by the time that orders the list")
]


class ListQuery(BaseModel, extra="forbid"):
    """Which part of a list."""

    limit: int = Field(default=50, ge=1, le=200, description="Items on a page")
    cursor: str | None = Field(
        default=None, max_length=300, description="next_cursor of the page before"
    )


class OwnListQuery(ListQuery):
    """Which part of a list of one tenant's."""

    tenant_id: int = Field(ge=1, le=LARGEST_ID, description="Whose items to list")


class SessionsQuery(OwnListQuery):
    """Which sessions."""

    paused: bool | None = None
    label: str | None = Field(default=None, max_length=40, description="One of its labels")
    owner: str | None = Field(default=None, max_length=100, description="Who looks after it")
    contact: str | None = Field(
        default=None,
        max_length=100,
        description="A JID or number; the beginning or end of a number; or any part of a number or"
        " name, searched in 1,000 sessions per page, the newest first",
    )
    active_since: Moment | None = None


class MessagesQuery(OwnListQuery):
    """Which messages."""

    sender: Sender | None = None
    from_me: bool | None = None
    since: _MessageSince = None


class TurnsQuery(OwnListQuery):
    """Which turns."""

    state: TurnState | None = None
    session_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)


class HandoffsQuery(OwnListQuery):
    """Which handoffs."""

    state: HandoffState | None = None
    session_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)


class SpendingQuery(BaseModel, extra="forbid"):
    """Whose spending."""

    session_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)


AskedNotes = Annotated[OwnListQuery, Query()]
AskedSpending = Annotated[SpendingQuery, Query()]
AskedTenants = Annotated[ListQuery, Query()]
AskedSessions = Annotated[SessionsQuery, Query()]
AskedMessages = Annotated[MessagesQuery, Query()]
AskedTurns = Annotated[TurnsQuery, Query()]
AskedHandoffs = Annotated[HandoffsQuery, Query()]
