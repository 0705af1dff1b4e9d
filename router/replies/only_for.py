"""Restricts the demo's simulated LLM to the demo business."""

from router.llm.errors import LlmAway
from router.llm.provider import Prompt
from router.replies.making import HandedOver, Reply, ReplyMaker, Silence
from router.state.calls.claimed_turn import ClaimedTurn


class OnlyFor:
    """Makes replies for one tenant; others wait, so that no real customer gets a simulated reply.

    They wait only seconds: the demo notices another tenant, and restarts the router without the
    demo.
    """

    def __init__(self, maker: ReplyMaker, tenant_id: int) -> None:
        self._maker = maker
        self._tenant_id = tenant_id

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | Silence | HandedOver:
        """Return the reply. Raises LlmError, and LlmAway for any other tenant."""
        if turn.tenant.tenant_id != self._tenant_id:
            raise LlmAway("the LLM of the demo answers for nobody else", is_free=True)
        return await self._maker.make(turn, prompt)
