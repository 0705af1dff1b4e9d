"""Forwards a turn by the gateway contract: the flow has it from here on, sends and closes it.

n8n's 200 says only that the flow has begun. If its response is lost, nobody else may take the turn
until the flow's lease ends: the customer could get two answers.
"""

import asyncio
import logging
from time import monotonic

import httpx

from router.llm.errors import LlmFailed
from router.llm.provider import Prompt
from router.logs.events import Action, log_event
from router.n8n.answering import (
    N8nAway,
    NotTaken,
    is_not_begun,
    is_of_the_flow,
    says_something,
    words_of,
)
from router.n8n.breakers import FlowBreakers
from router.n8n.flow_executions import FlowExecutions, said_in
from router.n8n.flows import FlowRules, flow_of, headers_with
from router.n8n.payload import build_payload
from router.n8n.turn_fence import TurnFence
from router.n8n.whose_fault import Faults
from router.outbound.bounds import NotHeardInTime
from router.outbound.transport import HAS_BEGUN
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.database import Database

_log = logging.getLogger(__name__)
_ACCEPTED = 10.0  # seconds that n8n has to say that the flow has begun
_FOR_THE_REQUEST = 0.5  # of the flow's lease; the flow needs the rest
_OF_THE_REQUEST = (400, 413, 422)  # n8n is there; it only refuses this turn
_NOTHING_SENT = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    httpx.UnsupportedProtocol,
)
_FLOW_DIED = 500  # before it answered: n8n is there, unlike with 502, 503, 504
_ANSWERS_AND_SENDS = (
    "the flow has answered with what is to be said, and its contract is gateway, by which it sends"
    " by itself: set n8n_contract of its tenant, or N8N_CONTRACT, to answer"
)


class Forwarding:
    """Posts turns to flows that send by themselves."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        database: Database,
        rules: FlowRules,
        breakers: FlowBreakers,
        faults: Faults,
        executions: FlowExecutions,
    ) -> None:
        self._http = http
        self._database = database
        self._rules = rules
        self._breakers = breakers
        self._faults = faults
        self._executions = executions

    async def forward(self, turn: ClaimedTurn, prompt: Prompt) -> bool:
        """Return whether a flow has the turn, or may have it; False: n8n certainly did not begin.

        A cancelled caller gives the turn back; not one whose turn a flow may have: it would run
        twice. Raises SendStopped, and LlmError if a flow has failed.
        """
        payload = build_payload(turn, prompt, self._rules.terms)
        try:
            asked = self._http.build_request(
                "POST",
                self._rules.url_of(turn.tenant.n8n_flow),
                content=payload.model_dump_json(),
                headers=headers_with(self._rules.api_key),
                timeout=_ACCEPTED,
            )
            refused = await self._post(turn, asked)
        except asyncio.CancelledError:
            if not asked.extensions.get(HAS_BEGUN, False):
                raise
            _log_unheard(turn, "it is not waited for")
            return True
        except _NOTHING_SENT as error:
            self._faults.of_n8n(f"n8n cannot be reached: {error}")
            return False
        except NotHeardInTime as error:
            _log_unheard(turn, str(error))  # that says nothing about n8n
            return True
        except httpx.HTTPError as error:
            # The flow may have begun; only its lease will show.
            self._faults.of_n8n(f"n8n did not answer: {error!r}")
            return True
        return refused is None or await self._failed(turn, refused)

    async def _post(self, turn: ClaimedTurn, asked: httpx.Request) -> httpx.Response | None:
        """Post the turn. Return None if its flow has begun, otherwise n8n's answer."""
        lease = self._rules.terms.lease
        patience = lease * _FOR_THE_REQUEST
        fence = TurnFence(self._database, self._breakers, turn, lease, patience)
        answer = await fence.send(self._http, asked)
        if not answer.is_success:
            return answer
        await self._begun(turn, answer)
        return None

    async def _begun(self, turn: ClaimedTurn, answer: httpx.Response) -> None:
        """Note that the flow has the turn. Raises LlmFailed if it answers with a reply instead."""
        self._breakers.all.worked()
        if await says_something(answer, turn):
            raise await self._own_fault(turn, _ANSWERS_AND_SENDS)
        await self._executions.note(turn, self._executions.hear(answer, said_in(answer)))
        log_event(
            _log, Action.FLOW_BEGAN, f"the flow {flow_of(turn)} has the turn",
            turn_id=turn.turn_id, tenant_id=turn.tenant.tenant_id, attempt=turn.attempt,
        )  # fmt: skip

    async def _failed(self, turn: ClaimedTurn, answer: httpx.Response) -> bool:
        """Return False if the flow certainly did not begin. Raises LlmError: it may have spoken."""
        said = f"n8n answered {answer.status_code}: {words_of(answer)}"
        if answer.is_server_error:
            # The flow may have spoken before it died: the attempt fails, and the state knows more.
            if answer.status_code == _FLOW_DIED or is_of_the_flow(answer):
                self._breakers.all.worked()
                raise await self._own_fault(turn, said)
            self._breakers.all.failed(monotonic())
            raise N8nAway(said)
        if answer.status_code in _OF_THE_REQUEST:
            log_event(_log, Action.AI_FAILED, said, level=logging.WARNING, turn_id=turn.turn_id)
            return False
        if not is_not_begun(answer):
            raise await self._own_fault(turn, said)  # the flow's answer: it may have sent before
        await self._faults.not_taken(turn, NotTaken(said, "flow"))
        return False

    async def _own_fault(self, turn: ClaimedTurn, said: str) -> LlmFailed:
        """Count the wrong answer of the flow, and return the failure."""
        failed = LlmFailed(said)
        await self._faults.of_flow(turn, failed)
        return failed


def _log_unheard(turn: ClaimedTurn, why: str) -> None:
    """Log that a flow may have the turn; only its lease will show."""
    log_event(
        _log, Action.AI_FAILED, f"the flow {flow_of(turn)} may have the turn: {why}",
        level=logging.WARNING, turn_id=turn.turn_id, tenant_id=turn.tenant.tenant_id,
    )  # fmt: skip
