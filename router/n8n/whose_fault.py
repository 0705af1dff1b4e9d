"""Counts each failure against the one whose fault it is: n8n, a tenant's flow, or neither."""

import logging
from time import monotonic

from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmOutOfRoom,
    LlmRefused,
)
from router.logs.events import Action, log_event
from router.n8n.answering import NotHeard, NotTaken
from router.n8n.failing_flows import FailingFlows
from router.n8n.flows import flow_of
from router.state.calls.claimed_turn import ClaimedTurn

_log = logging.getLogger(__name__)


class Faults:
    """Tells the breakers what a failed request for a turn says about n8n, and about its flow."""

    def __init__(self, failing: FailingFlows) -> None:
        self._failing = failing
        self._breakers = failing.breakers

    def of_n8n(self, reason: str) -> None:
        """Note that n8n accepted no request."""
        self._breakers.all.failed(monotonic())
        log_event(_log, Action.AI_FAILED, reason, level=logging.WARNING)

    async def not_taken(self, turn: ClaimedTurn, why: NotTaken) -> None:
        """Note that n8n did not accept a turn; about n8n, a tenant's own flow proves nothing."""
        if why.of == "n8n" or (why.of == "flow" and turn.tenant.n8n_flow is None):
            self.of_n8n(str(why))
            return
        self._breakers.all.worked()
        if why.of == "flow":
            await self._failing.failed(turn.tenant.tenant_id, flow_of(turn), str(why))
        log_event(
            _log, Action.AI_FAILED, f"the flow {flow_of(turn)}: {why}",
            level=logging.WARNING, turn_id=turn.turn_id, tenant_id=turn.tenant.tenant_id,
        )  # fmt: skip

    async def of_flow(self, turn: ClaimedTurn, error: LlmError) -> bool:
        """Note that a flow has failed, and return whether its breaker is open.

        A failure of an LLM is not the flow's fault, and no sign that the flow works either. Nor is
        it if this router stood still.
        """
        if isinstance(error, NotHeard):
            return False
        of_the_llm = isinstance(error, LlmAway | LlmEmpty | LlmRefused | LlmOutOfRoom)
        if of_the_llm and not isinstance(error, LlmAccountRefused):
            self._breakers.heard_of()
            return False
        tenant_id = turn.tenant.tenant_id
        return await self._failing.failed(tenant_id, flow_of(turn), str(error))
