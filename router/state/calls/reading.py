"""What operators read: sessions, messages, turns.

database/schema/0705_shown.sql; the lists are in 0710_sessions_listed.sql, 0715_messages_listed.sql
and 0718_turns_listed.sql.
"""

from typing import Any, Literal

from pydantic import Field

from router.state.calls.handoffs import SessionHandoff
from router.state.calls.model import Answer, Asked, Items, Moment, Text, Values, call
from router.state.calls.shown import AskedPage, Page, Time
from router.state.database import Database

PauseSource = Literal["owner", "operator", "contact", "ai", "cron"]
TurnState = Literal["pending", "running", "sending", "sent", "cancelled", "dead"]
Sender = Literal["contact", "owner", "ai", "client", "auto", "operator"]


class Session(Answer):
    """One tenant's conversation with one contact (or group)."""

    id: int
    tenant_id: int
    chat: Literal["contact", "group"]
    phone_jid: str | None
    lid: str | None
    identities: Items[str] = Field(description="Every JID under which the contact is known")
    contact_name: str | None
    is_paused: bool
    pause_source: PauseSource | None
    pause_reason: str | None
    paused_at: Time | None
    paused_until: Time | None = Field(description="The end that an operator set")
    pause_indefinite: bool
    pause_ends_at: Time | None = Field(
        default=None, description="When the pause ends by itself; null if never"
    )
    resumed_at: Time | None
    resume_source: PauseSource | None
    labels: Items[str] = Field(description="no-ai: the AI answers nothing there")
    owner: str | None = Field(description="Who of the business looks after it")
    handoff: SessionHandoff | None = Field(
        default=None, description="The handoff that waits, or that a human has taken"
    )
    last_human_at: Time | None
    last_message_at: Time | None
    last_contact_at: Time | None
    created_at: Time
    updated_at: Time


class Message(Answer):
    """One WhatsApp message, in or out."""

    id: int
    tenant_id: int
    session_id: int
    turn_id: int | None
    wa_id: str | None
    from_me: bool
    sender: Sender
    kind: str
    body: str
    media: dict[str, Any] | None
    quoted: dict[str, Any] | None
    author_name: str | None
    expects_reply: bool
    status: str | None = Field(description="WhatsApp's delivery state; error: not delivered")
    error_code: str | None = Field(description="WhatsApp's error code, if Evolution passes it on")
    sent_at: Time
    edited_at: Time | None
    deleted_at: Time | None
    part: int | None = Field(description="Which part of a turn's reply, from 0")
    send_state: Literal["sending", "sent", "unknown", "failed"] | None
    given_up: str | None = Field(
        default=None,
        description="Why this part of a reply can never be sent; what follows is still sent",
    )
    transcript: str | None = Field(
        default=None, description="The words of a voice message, as recognised; empty: none"
    )
    description: str | None = Field(
        default=None, description="What its media shows or contains, in words"
    )
    created_at: Time


class Turn(Answer):
    """The work of making one reply."""

    id: int
    tenant_id: int
    session_id: int
    state: TurnState
    reason: str | None
    run_after: Time
    attempt: int
    lease_until: Time | None
    worker: str | None
    handler: Literal["n8n", "fallback"] | None
    reply: Items[str | dict[str, Any]] | None = Field(
        description="Its parts: texts and other Evolution requests"
    )
    incomplete: bool
    undelivered: int = Field(description="How many parts of the reply WhatsApp did not deliver")
    error_kind: str | None
    error: str | None
    provider: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    correlation_id: str | None
    execution_id: str | None = Field(description="n8n's execution that worked on it last")
    execution_url: str | None = Field(
        default=None, description="Where n8n's editor shows it, if n8n keeps it"
    )
    created_at: Time
    claimed_at: Time | None
    finished_at: Time | None
    updated_at: Time


class TurnWithMessages(Turn):
    """A turn, the messages that it answers and the parts of its reply."""

    messages: Items[Message]


class ListSessions(AskedPage):
    """The requested sessions; `policy` says when a pause ends if the tenant's settings do not."""

    tenant_id: int
    paused: bool | None = None
    label: Text | None = None
    owner: Text | None = None
    contact: Text | None = None
    active_since: Moment | None = None
    policy: Values | None = None


class GetSession(Asked):
    """The requested session."""

    tenant_id: int
    session_id: int
    policy: Values | None = None


class FoundSession(Answer):
    """The session."""

    session: Session


class ListMessages(AskedPage):
    """The requested messages: of one session, or of the whole tenant."""

    tenant_id: int
    session_id: int | None = None
    sender: Sender | None = None
    from_me: bool | None = None
    since: Moment | None = None


class ListTurns(AskedPage):
    """The requested turns."""

    tenant_id: int
    state: TurnState | None = None
    session_id: int | None = None


class GetTurn(Asked):
    """The requested turn."""

    tenant_id: int
    turn_id: int


class FoundTurn(Answer):
    """A turn."""

    turn: TurnWithMessages


class SessionPage(Page[Session]):
    """A page of sessions."""


class MessagePage(Page[Message]):
    """A page of messages."""


class TurnPage(Page[Turn]):
    """A page of turns."""


async def list_sessions(database: Database, asked: ListSessions) -> SessionPage:
    """Return a page of a tenant's sessions, newest activity first. Raises NotFound and Invalid."""
    return await call(database, "list_sessions", asked, SessionPage)


async def get_session(database: Database, asked: GetSession) -> FoundSession:
    """Return a session. Raises NotFound."""
    return await call(database, "get_session", asked, FoundSession)


async def list_messages(database: Database, asked: ListMessages) -> MessagePage:
    """Return a page of messages, newest first. Raises NotFound and Invalid."""
    return await call(database, "list_messages", asked, MessagePage)


async def list_turns(database: Database, asked: ListTurns) -> TurnPage:
    """Return a page of a tenant's turns, newest first. Raises NotFound and Invalid."""
    return await call(database, "list_turns", asked, TurnPage)


async def get_turn(database: Database, asked: GetTurn) -> FoundTurn:
    """Return a turn with its messages. Raises NotFound."""
    return await call(database, "get_turn", asked, FoundTurn)
