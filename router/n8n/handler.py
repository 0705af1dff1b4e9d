"""Gives turns to n8n, and makes them in Python while n8n is away."""

import logging
from dataclasses import dataclass, field
from time import monotonic

import httpx
from pydantic import SecretStr

from router.llm.provider import LlmAway
from router.logs import Action, log_event
from router.n8n.execution_ids import is_execution_id
from router.n8n.payload import FlowTerms, build_payload
from router.sending.outcomes import SendStopped
from router.state.database import Database
from router.turns.attempt import HandedOver, Reply, ReplyMaker
from router.turns.claimed import ClaimedTurn
from router.turns.prompt import PromptRules, prompt_of_turn

_log = logging.getLogger(__name__)
KEY_HEADER = "X-N8N-API-Key"
TURN_WEBHOOK = "hybridflow-turn"
_LAPSES = 2  # leases that n8n may let run out until the fallback takes the turn


@dataclass(slots=True)
class Breaker:
    """Opens after `limit` failures in a row; while it is open, n8n is only probed.

    n8n's 200 for a turn is no success: only what its flows report is. A failure is a turn that it
    did not take, or took and let lie. `pause` and `now` are seconds.
    """

    limit: int = 3
    pause: float = 15.0
    failures: int = 0
    probe_at: float = field(default=0.0)

    @property
    def is_open(self) -> bool:
        """Whether turns go elsewhere."""
        return self.failures >= self.limit

    def wants_probe(self, now: float) -> bool:
        """Whether it is time to look if n8n is back."""
        return self.is_open and now >= self.probe_at

    def failed(self, now: float) -> None:
        """n8n did not take a turn, or let one lie."""
        self.failures += 1
        self.probe_at = now + self.pause

    def worked(self) -> None:
        """A flow came to its end."""
        self.failures = 0

    def seen(self) -> None:
        """n8n answered a probe: turns go there again, and the next failure is enough."""
        self.failures = self.limit - 1


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
        prompt: PromptRules,
        fallback: ReplyMaker,
    ) -> None:
        self._http = http
        self._database = database
        self._rules = rules
        self._prompt = prompt
        self._fallback = fallback
        self.breaker = Breaker(pause=rules.probe_seconds)

    async def make(self, turn: ClaimedTurn) -> Reply | HandedOver:
        """Hand the turn to n8n, or have the fallback make the reply. Raises LlmError.

        The fallback takes only what n8n has certainly not begun; and every turn of a tenant with
        a key of its own, which no flow is told.
        """
        if turn.tenant.llm_api_key is not None:
            return await self._fallback.make(turn)
        lapsed = turn.last_handler == "n8n" and turn.last_error is None
        if lapsed:
            self.breaker.failed(monotonic())
        if self._rules.wait_for_n8n:
            return await self._queue(turn)
        given_up = lapsed and turn.attempt > _LAPSES
        if not given_up and await self.is_available() and await self._forward(turn):
            return HandedOver()
        return await self._fallback.make(turn)

    async def _queue(self, turn: ClaimedTurn) -> HandedOver:
        if await self.is_available() and await self._forward(turn):
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

    async def is_available(self) -> bool:
        """Whether turns go to n8n now. While the breaker is open, n8n is probed now and then."""
        if self.breaker.wants_probe(monotonic()):
            if await self.is_alive():
                self.breaker.seen()
                log_event(_log, Action.STARTED, "n8n is back: it handles the turns again")
            else:
                self.breaker.failed(monotonic())
        return not self.breaker.is_open

    async def _forward(self, turn: ClaimedTurn) -> bool:
        payload = build_payload(turn, prompt_of_turn(turn, self._prompt), self._rules.terms)
        given = await self._database.call(
            "forward_turn", {**turn.held, "lease_seconds": self._rules.terms.lease}
        )
        if "refused" in given:
            raise SendStopped(given["refused"])
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
            await self._note_execution(turn, answer)
            return True
        said = f"n8n answered {answer.status_code}: {answer.text[:200]}"
        if answer.is_server_error:
            # The flow may have spoken before it died: the attempt fails, and the state knows more.
            self.breaker.failed(monotonic())
            raise LlmAway(said)
        return self._refused(said)

    async def _note_execution(self, turn: ClaimedTurn, answer: httpx.Response) -> None:
        """Write down which execution has the turn, where the flow says so as it begins."""
        try:
            said = answer.json()
        except ValueError:
            return
        execution = said.get("execution_id") if isinstance(said, dict) else None
        if not execution:
            return
        if not is_execution_id(execution):
            why: str | None = "the workflow's webhook must answer with `$execution.id`, a number"
        else:
            begun = await self._database.call(
                "begin_flow",
                {**turn.held, "execution_id": str(execution), "by_n8n": True},
            )
            why = begun.get("refused")  # it was taken back meanwhile: a crash changes nothing
        if why is not None:
            log_event(
                _log, Action.AI_FAILED, f"n8n's execution was not noted: {why}",
                level=logging.WARNING, turn_id=turn.turn_id,
            )  # fmt: skip

    def _refused(self, reason: str) -> bool:
        self.breaker.failed(monotonic())
        log_event(_log, Action.AI_FAILED, reason, level=logging.WARNING)
        return False
