"""A turn as it was claimed for one attempt: all that a handler needs, and may not change."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from router.safety.rules import ReplyRules
from router.state.calls.model import Held


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TurnTenant(_Frozen):
    """The tenant's side of a turn; its keys as they are stored."""

    tenant_id: int
    instance_name: str
    evo_server_url: str
    evo_api_key: SecretStr | None
    system_prompt: str | None
    llm_provider: str
    llm_api_key: SecretStr | None = None
    llm_model: str | None
    llm_max_tokens: int | None
    reply_rules: ReplyRules = ReplyRules()

    @property
    def line(self) -> dict[str, object]:
        """Return the instance as `InstanceKeys` takes it."""
        return {
            "tenant_id": self.tenant_id,
            "instance_name": self.instance_name,
            "evo_server_url": self.evo_server_url,
            "evo_api_key": self.evo_api_key.get_secret_value() if self.evo_api_key else None,
        }

    @property
    def pays_itself(self) -> bool:
        """Whether its own key of the LLM provider serves it, not the deployment's."""
        return self.llm_api_key is not None and bool(self.llm_api_key.get_secret_value())

    @property
    def llm(self) -> str:
        """Which LLM makes its replies: that one works says nothing of another model or key."""
        whose = f"tenant {self.tenant_id}" if self.pays_itself else "the deployment"
        return f"{self.llm_provider} {self.llm_model or 'default'} of {whose}"

    def max_tokens_within(self, most: int) -> int:
        """Return how many tokens a reply may have; on the deployment's key no more than `most`."""
        own = self.llm_max_tokens or most
        return own if self.pays_itself else min(own, most)


class TurnSession(_Frozen):
    """The conversation that the turn belongs to."""

    session_id: int
    chat: Literal["contact", "group"]
    jid: str
    jids: tuple[str, ...]
    contact_name: str | None


class TurnMessage(_Frozen):
    """One message of the conversation."""

    message_id: int
    wa_id: str | None
    from_me: bool
    sender: Literal["contact", "owner", "ai", "client", "auto", "operator"]
    kind: str
    body: str
    media: dict[str, Any] | None = None
    quoted: dict[str, str | None] | None
    author_name: str | None
    sent_at: datetime
    in_turn: bool


class TurnPart(_Frozen):
    """One part of the reply that an earlier attempt has begun to send."""

    message_id: int
    part: int
    kind: str
    body: str
    send_state: Literal["sending", "sent", "unknown", "failed"]
    wa_id: str | None
    send_began_at: datetime
    upload_seconds: float | None = None
    told_as: tuple[str, ...] | None = None
    chosen_id: str | None = None

    @property
    def in_doubt(self) -> bool:
        """Nobody knows whether it reached the phone."""
        return self.send_state in ("sending", "unknown")


class ClaimedTurn(_Frozen):
    """One attempt at a turn. `token` is worth nothing once another attempt has been claimed."""

    turn_id: int
    token: str
    attempt: int
    last_handler: Literal["n8n", "fallback"] | None = None
    last_error: str | None = None
    waits: int = 0
    reply: tuple[str, ...] | None
    correlation_id: str | None
    tenant: TurnTenant
    session: TurnSession
    parts: tuple[TurnPart, ...]
    ours: tuple[str, ...] | None = None
    """Where a part is in doubt: the ids of the sends of the conversation that are known."""
    history: tuple[TurnMessage, ...]

    @property
    def held(self) -> Held:
        """What every SQL call about this attempt must show."""
        return {"turn_id": self.turn_id, "token": self.token}
