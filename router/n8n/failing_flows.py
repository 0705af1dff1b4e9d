"""Counts for the breakers how flows end, and reports once that a flow keeps failing."""

import logging
from time import monotonic
from typing import Literal

from router.errors import DatabaseFault, StateError
from router.logs.events import Action, log_event
from router.n8n.breakers import FlowBreakers
from router.state.calls.flows import (
    TellFlowFailing,
    TellFlowWorks,
    tell_flow_failing,
    tell_flow_works,
)
from router.state.database import Database

_log = logging.getLogger(__name__)
GoesOn = Literal["fallback", "queue"]
"""What happens to a flow's turns while its breaker is open: the fallback handler, or they wait."""
_MEANWHILE = {
    "fallback": "the Python handler answers its turns",
    "queue": "its turns wait (N8N_FALLBACK=queue)",
}
_NAMED = 20  # flows that are named at most


class FailingFlows:
    """Knows which flows fail, and reports each once to the people of the business and the log."""

    def __init__(self, database: Database, breakers: FlowBreakers, goes_on: GoesOn) -> None:
        self._database = database
        self.breakers = breakers
        self._goes_on: GoesOn = goes_on
        self._told: dict[int, str] = {}  # the reported flow, by tenant

    async def failed(self, tenant_id: int, flow: str, why: str) -> bool:
        """Count a failure. Return whether the flow's breaker is open."""
        self.breakers.failed(tenant_id, flow, monotonic())
        return await self._look(tenant_id, flow, why)

    async def lapsed(self, turn_id: int, tenant_id: int, flow: str) -> None:
        """Count a turn whose lease ended without a report of the flow."""
        self.breakers.lapsed(turn_id, tenant_id, flow, monotonic())
        await self._look(tenant_id, flow, "it fell silent")

    async def worked(self, tenant_id: int, flow: str) -> None:
        """Note that the flow has answered a turn of the tenant, or finished its work."""
        self.breakers.worked(tenant_id, flow)
        if self._told.pop(tenant_id, None) is None:
            return
        log_event(
            _log, Action.FLOW_WORKS, f"the flow {flow} works again: turns go to it",
            tenant_id=tenant_id, flow=flow,
        )  # fmt: skip
        try:
            await tell_flow_works(self._database, TellFlowWorks(tenant_id=tenant_id))
        except (StateError, DatabaseFault) as error:  # the turn goes on all the same
            log_event(_log, Action.NOTICE_FAILED, f"not told that a flow works again: {error}")

    async def turn_failed(self, turn_id: int, why: str) -> bool:
        """Count the failure of a turn's flow. Return whether its breaker is open.

        If another router gave the turn to n8n, that router counts it.
        """
        if (given := self.breakers.given(turn_id)) is None:
            return False
        return await self.failed(*given, why)

    def gives_up(self, turn_id: int) -> bool:
        """Whether one more failure of the flow gives the turn to another handler."""
        if self._goes_on == "queue" or (given := self.breakers.given(turn_id)) is None:
            return False
        return self.breakers.failures(*given) + 1 >= self.breakers.limit

    async def turn_worked(self, turn_id: int) -> None:
        """Note that the turn's flow has finished its work."""
        if (given := self.breakers.given(turn_id)) is not None:
            await self.worked(*given)

    def told_to_anybody(self) -> str | None:
        """Return a text that names the failing flows by their webhooks' paths, or None."""
        failing = self.breakers.failing()
        if not failing:
            return None
        named = [_of_tenants(flow, count) for flow, count in sorted(failing.items())[:_NAMED]]
        more = len(failing) - len(named)
        listed = ", ".join(named) + (f" and {more} more" if more > 0 else "")
        return f"flows that fail again and again: {listed}; {_MEANWHILE[self._goes_on]}"

    async def _look(self, tenant_id: int, flow: str, why: str) -> bool:
        """Report the flow once if its breaker is open for the tenant."""
        failures = self.breakers.failures(tenant_id, flow)
        if failures < self.breakers.limit:
            return self.breakers.is_open(tenant_id, flow)
        if self._told.get(tenant_id) == flow:
            return True
        self._told[tenant_id] = flow
        log_event(
            _log, Action.FLOW_FAILING,
            f"the flow {flow} has failed {failures} times in a row: {_MEANWHILE[self._goes_on]}",
            level=logging.ERROR, tenant_id=tenant_id, flow=flow, error=why,
        )  # fmt: skip
        asked = TellFlowFailing(
            tenant_id=tenant_id, flow=flow, failures=failures, goes_on=self._goes_on
        )
        try:
            await tell_flow_failing(self._database, asked)
        except (StateError, DatabaseFault) as error:  # the turn goes on all the same
            self._told.pop(tenant_id, None)  # with the next failure
            log_event(_log, Action.NOTICE_FAILED, f"a failing flow was not reported: {error}")
        return True


def _of_tenants(flow: str, count: int) -> str:
    return f"{flow} (of 1 tenant)" if count == 1 else f"{flow} (of {count} tenants)"
