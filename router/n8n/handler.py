"""Gives turns to n8n, and has them made in Python while n8n is away.

Either a flow answers with what to say, which is a reply like any other (the answer contract); or it
has the turn, and sends and closes it by itself (the gateway contract).
"""

import asyncio
import logging
from time import monotonic
from typing import TypeAlias

import httpx

from router.llm.asking import more_room, out_of_room
from router.llm.errors import (
    LlmAccountRefused,
    LlmError,
    LlmFailed,
    LlmMisconfigured,
    LlmOutOfRoom,
)
from router.llm.provider import Prompt
from router.logs.events import Action, log_event
from router.n8n.answering import (
    FlowWaits,
    N8nAway,
    N8nDied,
    NotHeard,
    NotTaken,
    ask_flow,
    is_registered,
    understand,
)
from router.n8n.breakers import Breaker, FlowBreakers
from router.n8n.failing_flows import FailingFlows
from router.n8n.fallback_at_work import FallbackAtWork
from router.n8n.flow_executions import Execution, FlowExecutions
from router.n8n.flows import FlowRules, flow_of, headers_with
from router.n8n.forwarding import Forwarding
from router.n8n.payload import Contract, TurnPayload, build_payload
from router.n8n.reply import Answered, Reading, reply_of
from router.n8n.turn_fence import TurnFence
from router.n8n.whose_fault import Faults
from router.replies.making import HandedOver, Reply, Silence, StandIn
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import ForwardTurn, forward_turn
from router.state.calls.model import Refusal
from router.state.database import Database

_log = logging.getLogger(__name__)
_FLOWS_MODEL = "the flow's model"
_LAPSES = 2  # expired leases of n8n until the fallback takes the turn


_Made: TypeAlias = Reply | Silence | HandedOver


class N8nHandler:
    """Posts each turn to its workflow's webhook."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        database: Database,
        rules: FlowRules,
        fallback: StandIn,
    ) -> None:
        self._http = http
        self._database = database
        self._rules = rules
        self.fallback = FallbackAtWork(fallback)
        self.breaker = Breaker(pause=rules.probe_seconds)
        self.breakers = FlowBreakers(self.breaker, rules.flow_failures)
        self.failing = FailingFlows(
            database, self.breakers, "queue" if rules.wait_for_n8n else "fallback"
        )
        self._faults = Faults(self.failing)
        self._executions = FlowExecutions(database, rules.editor_url)
        self._forwarding = Forwarding(
            http, database, rules, self.breakers, self._faults, self._executions
        )
        self._has_warned = False
        # Claims count turns on their way to n8n, but not those that have waited in this process for
        # their server: many of these may come at once.
        self._places = asyncio.Semaphore(rules.at_once)

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> _Made:
        """Have a flow make the reply or take the turn, or use the fallback. Raises LlmError.

        The fallback takes only what n8n has certainly not begun, and every turn of a tenant with
        its own key, which no flow gets. If the fallback has no key, it takes none: turns wait for
        n8n, which may have one.
        """
        if turn.tenant.llm_api_key is not None:
            return await self.fallback.make(turn, prompt)
        # Only a flow that sends by itself holds the lease; else a router held the one that expired.
        tenant_id = turn.tenant.tenant_id
        sends = self._contract(turn) == "gateway" or self.breakers.begins_itself(tenant_id)
        lapsed = sends and turn.last_handler == "n8n" and turn.last_error is None
        if lapsed:
            await self.failing.lapsed(turn.turn_id, tenant_id, flow_of(turn))
        if self._waits(turn):
            return await self._queue(turn, prompt)
        given_up = lapsed and turn.attempt > _LAPSES
        if not given_up and (made := await self._made(turn, prompt)) is not None:
            return made
        return await self.fallback.make(turn, prompt)

    async def _queue(self, turn: ClaimedTurn, prompt: Prompt) -> _Made:
        if (made := await self._made(turn, prompt)) is not None:
            return made
        why = "n8n is away"
        if self.breakers.is_open(turn.tenant.tenant_id, flow_of(turn)):
            why = f"the flow {flow_of(turn)} fails again and again: its turns wait for it"
            raise FlowWaits(why, retry_after=self.breaker.pause, is_free=True)
        raise N8nAway(why, retry_after=self.breaker.pause, is_free=True)

    async def _made(self, turn: ClaimedTurn, prompt: Prompt) -> _Made | None:
        """Return what n8n makes of the turn; None: it does not accept it."""
        if not await self._takes(turn):
            return None
        if self._contract(turn) == "answer":
            async with self._places:
                return await self._answered(turn, prompt)
        return HandedOver() if await self._forwarding.forward(turn, prompt) else None

    def _waits(self, turn: ClaimedTurn) -> bool:
        """Whether the turn waits for n8n, or for its flow, if that does not accept it."""
        return self._rules.wait_for_n8n or not self.fallback.has_key(turn)

    def _contract(self, turn: ClaimedTurn) -> Contract:
        return turn.tenant.n8n_contract or self._rules.contract

    async def is_alive(self, flow: str | None = None) -> bool:
        """Whether n8n would accept a turn: its webhook is there. `flow` is a tenant's own."""
        return await is_registered(self._http, self._rules.url_of(flow))

    async def is_away(self) -> bool:
        """Whether it would accept no turn now, or has failed so often that it gets none."""
        return self.breaker.is_open or not await self.is_alive()

    async def is_available(self, flow: str | None = None) -> bool:
        """Whether n8n is there. While the breaker is open, it is probed now and then.

        The probe asks for the wanted flow: not every deployment has the one of this project.
        """
        if self.breaker.wants_probe(monotonic()):
            if await self.is_alive(flow):
                self.breaker.seen()
                log_event(_log, Action.STARTED, "n8n is back: it handles the turns again")
            else:
                self.breaker.failed(monotonic())
        return not self.breaker.is_open

    def fails(self) -> str | None:
        """Return which flows fail again and again; None: none."""
        return self.failing.told_to_anybody()

    async def _takes(self, turn: ClaimedTurn) -> bool:
        """Whether the turn goes to n8n now; a failing flow does not keep others from it.

        A flow that is given up is tried only by turns that have not failed yet. The next attempt of
        one that has failed comes later than the next try, so it would be the one that tries each
        time.
        """
        if not await self.is_available(turn.tenant.n8n_flow):
            return False
        given_up = self.breakers.is_open(turn.tenant.tenant_id, flow_of(turn))
        if given_up and turn.attempt > 1 and not self._waits(turn):
            return False
        return self.breakers.takes(turn.tenant.tenant_id, flow_of(turn), monotonic())

    async def _answered(self, turn: ClaimedTurn, prompt: Prompt) -> _Made | None:
        """Have the flow answer; None: n8n certainly has not begun one.

        Raises SendStopped and LlmError.
        """
        payload = build_payload(turn, prompt, self._rules.terms, "answer")
        try:
            said, execution = await self._said(turn, payload)
        except NotTaken as not_taken:
            await self._faults.not_taken(turn, not_taken)
            return None
        except N8nDied:
            self.breaker.failed(monotonic())
            raise
        except LlmError as error:
            self.breaker.worked()
            if await self._gives_up(turn, error) and isinstance(
                error, LlmMisconfigured | LlmAccountRefused
            ):
                raise LlmFailed(str(error)) from error  # another handler makes it, with its own key
            raise
        self.breaker.worked()
        if not isinstance(said, Answered):
            return await self._begun(turn, execution)
        self.breakers.answered(turn.tenant.tenant_id)
        await self.failing.worked(turn.tenant.tenant_id, flow_of(turn))
        if said.silence is not None:
            await self._executions.note(turn, execution)
            return Silence(said.silence, said.cost)
        return reply_of(said, execution)

    async def _said(
        self, turn: ClaimedTurn, payload: TurnPayload
    ) -> tuple[Reading, Execution | None]:
        """Return what the flow says; asked again with more room if only that was lacking.

        Raises NotTaken, SendStopped and LlmError.
        """
        limit = payload.tenant.llm_max_tokens
        try:
            return await self._ask(turn, payload)
        except LlmOutOfRoom as error:
            room = more_room(limit)
            if room is None:
                raise out_of_room(_FLOWS_MODEL, limit) from error
        tenant = payload.tenant.model_copy(update={"llm_max_tokens": room})
        try:
            return await self._ask(turn, payload.model_copy(update={"tenant": tenant}))
        except LlmOutOfRoom as error:
            raise out_of_room(_FLOWS_MODEL, room) from error
        except NotHeard:
            raise  # that says nothing about the model
        except (LlmMisconfigured, LlmFailed) as error:
            # The model allows fewer tokens than this, or cannot make so many in time.
            raise out_of_room(_FLOWS_MODEL, limit) from error

    async def _ask(
        self, turn: ClaimedTurn, payload: TurnPayload
    ) -> tuple[Reading, Execution | None]:
        url, seconds = self._rules.url_of(turn.tenant.n8n_flow), self._rules.terms.answer
        headers = headers_with(self._rules.api_key)
        lease = self._rules.attempt_lease
        fence = TurnFence(self._database, self.breakers, turn, lease, patience=lease)
        answer = await ask_flow(self._http, url, payload.model_dump_json(), headers, seconds, fence)
        try:
            said = await understand(answer, turn, seconds)
        except LlmError as error:
            if (failed := self._executions.hear(answer)) is not None:
                error.execution = (failed.execution_id, failed.url)
            raise
        return said, self._executions.hear(answer, said.execution_id)

    async def _gives_up(self, turn: ClaimedTurn, error: LlmError) -> bool:
        """Note that a flow has failed, and return whether the next turn goes elsewhere."""
        return await self._faults.of_flow(turn, error) and not self._waits(turn)

    async def _begun(self, turn: ClaimedTurn, execution: Execution | None) -> HandedOver:
        """Leave the turn to a flow that answers like those that send by themselves."""
        self.breakers.began_itself(turn.tenant.tenant_id)
        if not self._has_warned:
            self._has_warned = True
            log_event(
                _log, Action.STARTED,
                "a flow only says that it has begun. If it is to answer, set Respond of its Webhook"
                " node to Using 'Respond to Webhook' Node; if it sends by itself, set n8n_contract"
                " of its tenant, or N8N_CONTRACT, to gateway",
                level=logging.WARNING, tenant_id=turn.tenant.tenant_id,
            )  # fmt: skip
        lease = ForwardTurn(**turn.held, lease_seconds=self._rules.terms.lease)
        if not isinstance(await forward_turn(self._database, lease), Refusal):
            await self._executions.note(turn, execution)
        return HandedOver()
