"""Keeps an LLM that is only played to the one tenant that it is played for."""

from router.llm.errors import LlmAway
from router.llm.provider import Prompt
from router.replies.making import HandedOver, Reply, ReplyMaker, Silence
from router.state.calls.claimed_turn import ClaimedTurn


class OnlyFor:
    """Has replies made for one tenant; those of any other wait: nobody real gets a played one.

    They wait seconds: whoever plays sees the other tenant, and starts the router without the demo.
    """

    def __init__(self, maker: ReplyMaker, tenant_id: int) -> None:
        self._maker = maker
        self._tenant_id = tenant_id

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | Silence | HandedOver:
        """Return the reply. Raises LlmError; LlmAway for any other tenant."""
        if turn.tenant.tenant_id != self._tenant_id:
            raise LlmAway("the LLM of the demo answers for nobody else", is_free=True)
        return await self._maker.make(turn, prompt)
