"""Who makes the reply to a turn, and what it gives."""

from dataclasses import dataclass
from typing import Literal, Protocol

from router.llm.provider import Prompt
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import Cost


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be said, in parts that WhatsApp takes, and what it cost."""

    parts: tuple[str, ...]
    handler: Literal["n8n", "fallback"]
    provider: str | None = None
    model: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def cost(self) -> Cost:
        """Who made it, with what, and the tokens that it took."""
        return {
            "provider": self.provider,
            "model": self.model,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


class HandedOver:
    """A flow in n8n has the turn: it sends and closes it by itself, or its lease runs out."""


class ReplyMaker(Protocol):
    """Makes the reply to a turn; raises LlmError when it cannot."""

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | HandedOver:
        """Return the reply, nothing of which has been sent, or say who else sends it.

        `prompt` is built of the turn, once for all who are asked.
        """
