"""Gives a turn to n8n: first the fence in the state, then the request, in time or not at all.

A router that stood still in between no longer knows whether the turn is its own. So it passes the
fence once more, which refuses if another router has the turn: its flow must not run twice.
"""

from dataclasses import dataclass
from time import monotonic

import httpx

from router.n8n.breakers import FlowBreakers
from router.n8n.flows import flow_of
from router.outbound.bounds import NotBegunInTime
from router.sending.outcomes import SendStopped
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import ForwardTurn, forward_turn
from router.state.calls.model import Refusal
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class TurnFence:
    """The fence before each request that gives `turn` to its flow.

    The state gives the turn a `lease`; the request begins within its first `patience` seconds.
    """

    database: Database
    breakers: FlowBreakers
    turn: ClaimedTurn
    lease: float
    patience: float

    async def send(self, http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises SendStopped, and httpx.HTTPError.

        NotBegunInTime: it could not begin in time twice in a row, so n8n cannot be reached.
        """
        try:
            return await self._send(http, request)
        except NotBegunInTime:
            return await self._send(http, request)

    async def _send(self, http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        begin_by = monotonic() + self.patience  # the state counts the lease from later on
        await self._pass()
        request.extensions["begin_by"] = begin_by
        return await http.send(request)

    async def _pass(self) -> None:
        asked = ForwardTurn(**self.turn.held, lease_seconds=self.lease)
        given = await forward_turn(self.database, asked)
        if isinstance(given, Refusal):
            raise SendStopped(given.refused)
        self.breakers.gave(self.turn.turn_id, self.turn.tenant.tenant_id, flow_of(self.turn))
