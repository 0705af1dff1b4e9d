"""A turn that was claimed for one attempt: everything that a handler needs, read-only."""

from typing import Any, Literal

from pydantic import SecretStr

from router.state.calls.model import Answer, Held, Items, Moment, StoredInstance


class ReplyRules(Answer):
    """A tenant's own settings about what may be said; None: the deployment's default."""

    forbidden_patterns: Items[str] = ()
    max_characters: int | None = None
    leak_characters: int | None = None
    moderation_url: str | None = None


class DeliveryRules(Answer):
    """A tenant's settings about how its replies are sent."""

    max_bubbles: int = 1
    quote_replies: bool = False
    thanks_reaction: str | None = None
    voice_replies: Literal["never", "mirror", "always"] = "never"
    tts_voice: str | None = None
    tts_instructions: str | None = None


class OwnFile(Answer):
    """A file of the business that a reply may contain."""

    name: str
    description: str
    kind: Literal["image", "sticker", "video", "audio", "document"]
    file_name: str


class TurnTenant(StoredInstance):
    """The tenant's side of a turn; its keys in their stored form."""

    system_prompt: str | None
    llm_provider: str
    llm_api_key: SecretStr | None = None
    llm_model: str | None
    llm_max_tokens: int | None
    facts: str | None = None
    timezone: str | None = None
    opening_hours: dict[str, Any] | None = None
    away_message: str | None = None
    fallback_message: str | None = None
    mark_as_read: bool = True
    answer_when_closed: bool = True
    n8n_flow: str | None = None
    n8n_contract: Literal["answer", "gateway"] | None = None
    handoff_message: str | None = None
    handoff_words: Items[str] = ()
    handoff_on_promise: bool = True
    reply_rules: ReplyRules = ReplyRules()
    delivery: DeliveryRules = DeliveryRules()
    files: Items[OwnFile] = ()


class TurnSession(Answer):
    """The conversation that the turn belongs to."""

    session_id: int
    chat: Literal["contact", "group"]
    jid: str
    jids: Items[str]
    contact_name: str | None
    labels: Items[str] = ()
    notes: Items[str] = ()
    """The notes of the business's people, if the AI may know them."""
    away_until: Moment | None = None
    """The opening time that the contact was told, if an away message was sent."""


class TurnMessage(Answer):
    """One message of the conversation."""

    message_id: int
    wa_id: str | None
    from_me: bool
    sender: Literal["contact", "owner", "ai", "client", "auto", "operator"]
    kind: str
    body: str
    media: dict[str, Any] | None = None
    transcript: str | None = None
    """The words that were recognised in its media; empty: there were none."""
    description: str | None = None
    unheard: bool = False
    """Its media should be put into words, but was not, or was not yet."""
    pictured: bool = False
    """It has a picture that can be shown to the LLM: see read_pictures."""
    quoted: dict[str, str | None] | None
    author_name: str | None
    sent_at: Moment
    in_turn: bool


class TurnPart(Answer):
    """One part of the reply that an earlier attempt has begun to send."""

    message_id: int
    part: int
    kind: str
    body: str
    send_state: Literal["sending", "sent", "unknown", "failed"]
    wa_id: str | None
    send_began_at: Moment
    upload_seconds: float | None = None
    told_as: Items[str] | None = None
    chosen_id: str | None = None
    given_up: bool = False
    """It can never be sent, so it is skipped."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more has to be done for this part."""
        return self.send_state == "sent" or (self.send_state == "failed" and self.given_up)


class ClaimedTurn(Answer):
    """One attempt at a turn. `token` is invalid once another attempt has been claimed."""

    turn_id: int
    token: str
    attempt: int
    now: Moment
    last_handler: Literal["n8n", "fallback"] | None = None
    last_error: str | None = None
    waits: int = 0
    reply: Items[str | dict[str, Any]] | None
    correlation_id: str | None
    tenant: TurnTenant
    session: TurnSession
    parts: Items[TurnPart]
    ours: Items[str] | None = None
    """If a part is in doubt: the ids of the conversation's known sends."""
    history: Items[TurnMessage]

    @property
    def name(self) -> str:
        """Its name in the log: its id."""
        return str(self.turn_id)

    @property
    def held(self) -> Held:
        """What every SQL call about this attempt must contain."""
        return {"turn_id": self.turn_id, "token": self.token}
