"""Gives turns to n8n, and makes them in Python while n8n is away."""

import logging
from dataclasses import dataclass
from time import monotonic

import httpx
from pydantic import SecretStr

from router.llm.provider import LlmAway, LlmFailed, Prompt
from router.logs.events import Action, log_event
from router.n8n.breakers import Breaker, SilentFlows
from router.n8n.execution_ids import is_execution_id
from router.n8n.payload import FlowTerms, build_payload
from router.outbound.answers import beginning, read_json
from router.replies.making import HandedOver, Reply, ReplyMaker
from router.sending.outcomes import SendStopped
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import BeginFlow, ForwardTurn, begin_flow, forward_turn
from router.state.calls.model import Refusal
from router.state.database import Database

_log = logging.getLogger(__name__)
KEY_HEADER = "X-N8N-API-Key"
TURN_WEBHOOK = "hybridflow-turn"
_OF_THE_REQUEST = (400, 413, 422)  # n8n is there; what it does not take is this turn
_FLOW_DIED = 500  # before it answered: n8n is there, unlike with 502, 503, 504
_LAPSES = 2  # leases that n8n may let run out until the fallback takes the turn


@dataclass(frozen=True, slots=True)
class FlowRules:
    """Where n8n is, what its flows are told, and whether turns wait for it while it is away.

    `probe_seconds` pass between looks whether it is back.
    """

    webhook_url: str
    api_key: SecretStr
    terms: FlowTerms
    wait_for_n8n: bool
    probe_seconds: float


class N8nHandler:
    """Posts each turn to the workflow's webhook. n8n's 200 only says that the flow has begun."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        database: Database,
        rules: FlowRules,
        fallback: ReplyMaker,
    ) -> None:
        self._http = http
        self._database = database
        self._rules = rules
        self._fallback = fallback
        self.breaker = Breaker(pause=rules.probe_seconds)
        self.silent = SilentFlows(self.breaker)

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply | HandedOver:
        """Hand the turn to n8n, or have the fallback make the reply. Raises LlmError.

        The fallback takes only what n8n has certainly not begun; and every turn of a tenant with
        a key of its own, which no flow is told.
        """
        if turn.tenant.llm_api_key is not None:
            return await self._fallback.make(turn, prompt)
        lapsed = turn.last_handler == "n8n" and turn.last_error is None
        if lapsed:
            self.silent.lapsed(turn.turn_id, turn.tenant.tenant_id, monotonic())
        if self._rules.wait_for_n8n:
            return await self._queue(turn, prompt)
        given_up = lapsed and turn.attempt > _LAPSES
        if not given_up and await self._takes(turn) and await self._forward(turn, prompt):
            return HandedOver()
        return await self._fallback.make(turn, prompt)

    async def _queue(self, turn: ClaimedTurn, prompt: Prompt) -> HandedOver:
        if await self._takes(turn) and await self._forward(turn, prompt):
            return HandedOver()
        raise LlmAway("n8n is away", retry_after=self.breaker.pause, is_free=True)

    async def is_alive(self) -> bool:
        """Whether n8n would take a turn: its webhook is there, and closed without the key.

        Its own readiness is told before its webhooks are registered.
        """
        try:
            answer = await self._http.post(self._rules.webhook_url, timeout=3)
        except httpx.HTTPError:
            return False
        return answer.status_code in (401, 403)

    async def is_away(self) -> bool:
        """Whether it would take no turn now, or has failed so often that it is given none."""
        return self.breaker.is_open or not await self.is_alive()

    async def is_available(self) -> bool:
        """Whether n8n is there. While the breaker is open, it is probed now and then."""
        return await self._is_closed(self.breaker, "n8n is back: it handles the turns again")

    async def _takes(self, turn: ClaimedTurn) -> bool:
        """Whether the turn goes to n8n now; one tenant's silent flows keep no other's from it."""
        if not await self.is_available():
            return False
        own = self.silent.of(turn.tenant.tenant_id)
        said = f"n8n is tried again for tenant {turn.tenant.tenant_id}, whose flows were silent"
        return own is None or await self._is_closed(own, said)

    async def _is_closed(self, breaker: Breaker, said: str) -> bool:
        if breaker.wants_probe(monotonic()):
            if await self.is_alive():
                breaker.seen()
                log_event(_log, Action.STARTED, said)
            else:
                breaker.failed(monotonic())
        return not breaker.is_open

    async def _forward(self, turn: ClaimedTurn, prompt: Prompt) -> bool:
        payload = build_payload(turn, prompt, self._rules.terms)
        asked = ForwardTurn(**turn.held, lease_seconds=self._rules.terms.lease)
        given = await forward_turn(self._database, asked)
        if isinstance(given, Refusal):
            raise SendStopped(given.refused)
        self.silent.gave(turn.turn_id, turn.tenant.tenant_id)
        try:
            answer = await self._http.post(
                self._rules.webhook_url,
                content=payload.model_dump_json(),
                headers={
                    "Content-Type": "application/json",
                    KEY_HEADER: self._rules.api_key.get_secret_value(),
                },
                timeout=10,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return self._refused(f"n8n cannot be reached: {error}")
        except httpx.HTTPError as error:
            # It may have begun: only the lease can tell. Another handler now could answer twice.
            self.breaker.failed(monotonic())
            log_event(
                _log, Action.AI_FAILED, f"n8n did not answer: {error!r}", level=logging.WARNING
            )
            return True
        if answer.is_success:
            self.breaker.worked()
            await self._note_execution(turn, answer)
            return True
        said = f"n8n answered {answer.status_code}: {beginning(answer.content, 200)}"
        if answer.is_server_error:
            # The flow may have spoken before it died: the attempt fails, and the state knows more.
            self.breaker.failed(monotonic())
            raise LlmFailed(said) if answer.status_code == _FLOW_DIED else LlmAway(said)
        if answer.status_code in _OF_THE_REQUEST:
            log_event(_log, Action.AI_FAILED, said, level=logging.WARNING, turn_id=turn.turn_id)
            return False
        return self._refused(said)

    async def _note_execution(self, turn: ClaimedTurn, answer: httpx.Response) -> None:
        """Write down which execution has the turn, where the flow says so as it begins."""
        try:
            said = read_json(answer.content)
        except ValueError:
            return
        execution = said.get("execution_id") if isinstance(said, dict) else None
        if not execution:
            return
        if not is_execution_id(execution):
            why: str | None = "the workflow's webhook must answer with `$execution.id`, a number"
        else:
            asked = BeginFlow(**turn.held, execution_id=str(execution), by_n8n=True)
            begun = await begin_flow(self._database, asked)
            # It was taken back meanwhile: a crash changes nothing.
            why = begun.refused if isinstance(begun, Refusal) else None
        if why is not None:
            log_event(
                _log, Action.AI_FAILED, f"n8n's execution was not noted: {why}",
                level=logging.WARNING, turn_id=turn.turn_id,
            )  # fmt: skip

    def _refused(self, reason: str) -> bool:
        self.breaker.failed(monotonic())
        log_event(_log, Action.AI_FAILED, reason, level=logging.WARNING)
        return False
