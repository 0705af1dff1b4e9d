"""What makes the reply to a turn, and what it returns."""

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
`{"handoff": {"reason": …, "summary": …}, "text": …}`. Its text is sent as the conversation is
handed off (the next parts are the rest of that text); without a text it is the last part.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say, in parts that WhatsApp accepts, its cost, and the execution in n8n."""

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
        """Everything that the customer will read of it."""
        texts = (part if isinstance(part, str) else _texts_in(part) for part in self.parts)
        return "\n\n".join(text for text in texts if text)

    @property
    def cost(self) -> Cost:
        """Who made it, with which model, and the tokens that it took."""
        return {
            "provider": self.provider,
            "model": self.model,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


class HandedOver:
    """A flow in n8n has the turn: it sends and closes it by itself, or its lease ends."""


def _texts_in(part: Mapping[str, Any]) -> str:
    return texts_of(part["body"]) if "body" in part else str(part.get("text", ""))


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is to be said, on purpose: `why`, and what it cost."""

    why: str
    cost: Cost


class ReplyMaker(Protocol):
    """Makes the reply to a turn; raises LlmError when it cannot."""

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | Silence | HandedOver:
        """Return the reply, nothing of which has been sent, or say who else sends it.

        `prompt` is built from the turn, once for all handlers.
        """


class StandIn(ReplyMaker, Protocol):
    """Makes the replies when another handler cannot, if it has what it needs."""

    def has_key(self, turn: ClaimedTurn) -> bool:
        """Whether there is a key of the LLM that the turn's tenant has."""
