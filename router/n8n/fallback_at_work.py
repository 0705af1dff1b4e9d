"""Calls the fallback for n8n's handler, and knows for which turns it is at work right now."""

from router.llm.provider import Prompt
from router.replies.making import HandedOver, Reply, Silence, StandIn
from router.state.calls.claimed_turn import ClaimedTurn


class FallbackAtWork:
    """Lets the fallback make replies. Its turns take no place in n8n."""

    def __init__(self, fallback: StandIn) -> None:
        self._fallback = fallback
        self._turn_ids: set[int] = set()

    def is_making(self, turn_id: int) -> bool:
        """Whether the fallback is making the reply to this turn right now."""
        return turn_id in self._turn_ids

    def has_key(self, turn: ClaimedTurn) -> bool:
        """Whether the fallback could make the reply to a turn."""
        return self._fallback.has_key(turn)

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | Silence | HandedOver:
        """Let the fallback make the reply. Raises LlmError."""
        self._turn_ids.add(turn.turn_id)
        try:
            return await self._fallback.make(turn, prompt)
        finally:
            self._turn_ids.discard(turn.turn_id)
