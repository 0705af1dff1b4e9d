"""What the API answers."""

from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")
PauseSource = Literal["owner", "operator", "contact", "ai", "cron"]
TurnState = Literal["pending", "running", "sending", "sent", "cancelled", "dead"]
Sender = Literal["contact", "owner", "ai", "client", "auto", "operator"]


class Page(BaseModel, Generic[Item]):
    """Part of a list."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="`cursor` of the next page, also of one with few items; null at the end"
    )


class Session(BaseModel):
    """One tenant's conversation with one contact (or group)."""

    id: int
    tenant_id: int
    chat: Literal["contact", "group"]
    phone_jid: str | None
    lid: str | None
    identities: list[str] = Field(description="Every JID under which the contact is known")
    contact_name: str | None
    is_paused: bool
    pause_source: PauseSource | None
    pause_reason: str | None
    paused_at: datetime | None
    paused_until: datetime | None = Field(description="The end that an operator has set")
    pause_indefinite: bool
    pause_ends_at: datetime | None = Field(
        default=None, description="When the pause ends by itself; null if never"
    )
    resumed_at: datetime | None
    resume_source: PauseSource | None
    last_human_at: datetime | None
    last_message_at: datetime | None
    last_contact_at: datetime | None
    created_at: datetime
    updated_at: datetime


class PausedSession(BaseModel):
    """What a pause has done."""

    session: Session
    cancelled_turns: int = Field(description="Replies that were being made and will not be sent")


class ResumedSession(BaseModel):
    """What a resume has done."""

    session: Session
    resumed: bool = Field(description="false: it was not paused")
    turn_id: int | None = Field(
        description="The turn that answers what came meanwhile and nobody answered, if anything did"
    )


class Message(BaseModel):
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
    error_code: str | None = Field(description="WhatsApp's code for that, where Evolution tells it")
    sent_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    part: int | None = Field(description="Which part of a turn's reply, from 0")
    send_state: Literal["sending", "sent", "unknown", "failed"] | None
    created_at: datetime


class Turn(BaseModel):
    """The work of making one reply."""

    id: int
    tenant_id: int
    session_id: int
    state: TurnState
    reason: str | None
    run_after: datetime
    attempt: int
    lease_until: datetime | None
    worker: str | None
    handler: Literal["n8n", "fallback"] | None
    reply: list[str] | None
    incomplete: bool
    undelivered: int = Field(description="How many parts of the reply WhatsApp did not deliver")
    error_kind: str | None
    error: str | None
    provider: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    correlation_id: str | None
    created_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


class Retries(BaseModel):
    """What became of many dead turns that were to be tried again."""

    retried: int = Field(description="How many got fresh attempts")
    left: int = Field(
        description="How many could not be retried: their session is paused, or another turn"
        " answers their messages, or somebody is at them"
    )
    next_cursor: str | None = Field(
        description="There are more: give it with the same filters; null: these were all"
    )


class TurnWithMessages(Turn):
    """A turn, the messages that it answers and the parts of its reply."""

    messages: list[Message]


class Tenant(BaseModel):
    """One business: one Evolution instance, its prompt, provider and rules."""

    id: int
    instance_name: str
    evo_server_url: str
    evo_api_key_set: bool
    system_prompt: str | None
    llm_provider: str
    llm_api_key_set: bool
    llm_model: str | None
    llm_max_tokens: int | None
    is_active: bool
    debounce_seconds: float | None
    resume_after_hours: float | None
    answer_within_minutes: float | None
    auto_reply_seconds: float
    other_client_takeover: bool
    answer_groups: bool
    unanswered_kinds: list[str]
    on_new_message: Literal["queue", "restart"]
    notify_number: str | None
    notify_url: str | None = Field(description="null also for whoever is no admin of it")
    notify_url_set: bool
    forbidden_patterns: list[str]
    max_reply_characters: int | None
    leak_characters: int | None
    moderation_url: str | None = Field(description="null also for whoever is no admin of it")
    moderation_url_set: bool
    on_refused_reply: Literal["handoff", "fallback_message"]
    fallback_message: str | None
    loop_replies: int | None
    loop_minutes: float | None
    daily_turns: int | None
    daily_tokens: int | None
    contact_daily_turns: int | None
    contact_daily_tokens: int | None
    webhook_networks: list[str] | None
    shared_webhook_secret: bool
    retention_days: int | None
    on_retention: Literal["archive", "delete"]
    pruned_before: datetime | None
    connection_state: str | None
    connection_reason: int | None
    connection_changed_at: datetime | None
    connection_lost_at: datetime | None
    owner_jid: str | None
    caught_up_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Spending(BaseModel):
    """What was spent in a day (UTC), with what is reserved for replies in the making."""

    day: date
    turns: int
    tokens: int
    daily_turns: int | None = Field(description="What is allowed; null: any number")
    daily_tokens: int | None
    used_up: str | None = Field(description="The budget that lets no more turn be made, if any")


class Amount(BaseModel):
    """How much of a table is one tenant's."""

    rows: int
    bytes: int = Field(description="Estimated, without indexes")


class TenantStats(BaseModel):
    """How much is stored of a tenant."""

    tables: dict[str, Amount]
    bytes: int
    oldest_message_at: datetime | None
    pruned_before: datetime | None = Field(description="What was sent before is archived or gone")


class QrCodeShown(BaseModel):
    """The QR code that Evolution last sent."""

    instance_name: str
    code: str | None = Field(description="The text to be drawn as a QR code")
    pairing_code: str | None
    updated_at: datetime
    age_seconds: int = Field(description="WhatsApp takes a code for less than a minute")
    connection_state: str | None


class Pruned(BaseModel):
    """What one run of prune has done: how many rows of each kind."""

    events: int
    messages_deleted: int
    messages_archived: int
    turns: int
    notices: int
    spending: int
    erased_messages: int
    more: bool = Field(description="The run's time was over before everything was done")

    def plus(self, next_batch: "Pruned") -> "Pruned":
        """Return what both have done; whether there is more, the later one knows."""
        counts = {
            name: getattr(self, name) + getattr(next_batch, name)
            for name in Pruned.model_fields
            if name != "more"
        }
        return Pruned(**counts, more=next_batch.more)


class AutoResumed(BaseModel):
    """What one run of auto-resume has done."""

    resumed: int
    turns: int = Field(description="Turns made for what nobody had answered")
    more: bool = Field(default=False, description="Others are over, too: call it again")


class CheckStep(BaseModel):
    """One step of the way from a customer's message to the reply."""

    step: str
    ok: bool
    detail: str
    cure: str | None = None


class InstanceCheck(BaseModel):
    """The whole way, step by step, as far as each step can be looked at."""

    ok: bool
    failed: str | None = Field(description="The first step that failed")
    steps: list[CheckStep]
    warnings: list[str]
