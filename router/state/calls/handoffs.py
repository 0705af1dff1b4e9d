"""Handoffs: their list, and the steps that follow if nobody takes one.

database/schema/0316_handoffs_untaken.sql and 0318_handoffs_listed.sql.
"""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from router.state.calls.model import Answer, Asked, Items, Moment, Text, Values, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database

HandoffState: TypeAlias = Literal["waiting", "taken", "done", "expired"]


class SessionHandoff(Answer):
    """A call for a human in a conversation, and who came."""

    id: int
    tenant_id: int
    session_id: int
    turn_id: int | None = Field(description="The turn that handed off, if one did")
    state: HandoffState = Field(
        description="waiting for a human; taken: one wrote or paused; done: given back to the AI;"
        " expired: nobody came"
    )
    reason: Literal["asked_for_person", "not_known", "not_allowed", "upset", "tool_failed", "other"]
    why: str | None = Field(
        description="The reason in the words of the person or AI that handed off, if given"
    )
    summary: str | None = Field(description="What the customer wants, for the person who comes")
    said: str | None = Field(description="What the customer is told of it")
    words: Literal["none", "saying", "said", "not_said"] = Field(
        description="Whether the customer was told; not_said: a part could not be delivered"
    )
    created_at: Time
    taken_at: Time | None
    taken_by: str | None = Field(description="owner: on the phone; operator: through HybridFlow")
    taken_name: str | None
    ended_at: Time | None
    reminded: bool = Field(description="People were told again, because nobody came")
    told_next: bool = Field(description="The next number was told, too, if there is one")
    told_customer: bool = Field(description="The customer was told, too")


class ListHandoffs(AskedPage):
    """The requested handoffs."""

    tenant_id: int
    state: HandoffState | None = None
    session_id: int | None = None


class HandoffPage(Page[SessionHandoff]):
    """A page of handoffs."""


class LookAtHandoffs(Asked):
    """How many handoffs to return."""

    limit: int


class UntakenHandoff(Answer):
    """A waiting handoff: the steps done, the time of the last one, and the tenant's hours."""

    handoff_id: int
    step: int
    step_at: Moment
    minutes: float
    timezone: str | None
    opening_hours: dict[str, Any] | None
    jids: Items[str]
    wrote: Items[str]


class UntakenHandoffs(Answer):
    """The handoffs for which a step may be due, and the state's clock."""

    handoffs: Items[UntakenHandoff]
    now: Moment


class PressHandoff(Asked):
    """The next step of a handoff; `due_at`: it is not due before this time."""

    handoff_id: int
    step: int
    say: Text
    policy: Values
    due_at: Moment | None = None


class Pressed(Answer):
    """Which step was done, if any."""

    did: Literal["reminded", "told_next", "told_customer", "returned", "waits", "expired"] | None
    turn_id: int | None = None


async def look_at_handoffs(database: Database, asked: LookAtHandoffs) -> UntakenHandoffs:
    """Return handoffs that nobody took and for which a step may be due."""
    return await call(database, "look_at_handoffs", asked, UntakenHandoffs)


async def press_handoff(database: Database, asked: PressHandoff) -> Pressed:
    """Do a handoff's next step, once, or record when it is due."""
    return await call(database, "press_handoff", asked, Pressed)


async def list_handoffs(database: Database, asked: ListHandoffs) -> HandoffPage:
    """Return a page of a tenant's handoffs, newest first. Raises NotFound and Invalid."""
    return await call(database, "list_handoffs", asked, HandoffPage)
