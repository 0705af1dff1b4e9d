"""The protocol of handlers that make replies, and their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from router.llm.provider import Prompt
from router.replies.texts import texts_of
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import Cost

Part: TypeAlias = str | Mapping[str, Any]
"""One message of a reply, as it is stored with its turn: a text, or a request to Evolution.

A request is `{"path": …, "body": {…}}`, without the number. A part may also be a handoff:
`{"handoff": {"reason": …, "summary": …}, "text": …}`. Its text is sent in the same step in which
the conversation is handed off; the next parts are the rest of that text. A handoff without a text
is the last part.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in parts that WhatsApp accepts, with its cost and n8n's execution, if any."""

    parts: tuple[Part, ...] = field(repr=False)
    handler: Literal["n8n", "fallback"]
    provider: str | None = None
    model: str | None = None
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    execution_id: str | None = None
    execution_url: str | None = None

    @property
    def said(self) -> str:
        """All texts of the reply that the customer will read."""
        texts = (part if isinstance(part, str) else _texts_in(part) for part in self.parts)
        return "\n\n".join(text for text in texts if text)

    @property
    def cost(self) -> Cost:
        """The provider, the model, and the tokens of the reply."""
        return {
            "provider": self.provider,
            "model": self.model,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


class HandedOver:
    """A flow in n8n has the turn: it sends and closes the turn by itself, or the lease ends."""


def _texts_in(part: Mapping[str, Any]) -> str:
    return texts_of(part["body"]) if "body" in part else str(part.get("text", ""))


@dataclass(frozen=True, slots=True)
class Silence:
    """There is deliberately no reply: `why`, and what that cost."""

    why: str
    cost: Cost


class ReplyMaker(Protocol):
    """Makes the reply to a turn."""

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | Silence | HandedOver:
        """Return the reply, which is not sent yet, or HandedOver. Raises LlmError.

        `prompt` is built from the turn, once for all handlers.
        """


class StandIn(ReplyMaker, Protocol):
    """Makes the replies if another handler cannot."""

    def has_key(self, turn: ClaimedTurn) -> bool:
        """Whether there is a key for the LLM of the turn's tenant."""
