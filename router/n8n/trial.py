"""Tries a flow with a test turn, marked `dry`; nothing is sent to anybody.

The turn is posted like every turn, the flow's answer is read like every answer, and what the flow
sends is recorded (`dry_turns.py`). The result is what would have been said, or what is wrong.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
from pydantic import BaseModel, Field

from router.llm.errors import LlmError, LlmFailed
from router.n8n.addresses import for_editor
from router.n8n.answering import NoSuchFlow, NotTaken, ask_flow, understand
from router.n8n.dry_media import fault_in
from router.n8n.dry_turns import DRY_JID, shown_values
from router.n8n.flow_executions import Execution, execution_in, said_in
from router.n8n.flows import FlowRules, headers_with
from router.n8n.payload import Contract, FlowUrls, TurnPayload, build_payload
from router.n8n.reply import Answered
from router.replies.making import Part
from router.replies.prompt import PromptRules, prompt_of_turn
from router.sending.outgoing import TEXT_PATH
from router.senses.sounds import Sounds
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage, TurnSession
from router.state.calls.dry_turns import (
    BeginDryTurn,
    BegunDryTurn,
    DryTurnSoFar,
    LookAtDryTurn,
    begin_dry_turn,
    look_at_dry_turn,
)
from router.state.database import Database
from router.state.flow_tokens import DryToken

_LOOK_SECONDS = 0.5
_MARGIN = 10.0  # seconds that a test turn lasts longer than its flow may
_ACCEPTED = 10.0  # seconds in which a flow of the gateway contract must report that it has begun
TEXT = "Hello! Are you open today?"


class SaidMessage(BaseModel):
    """A message that would have been sent: a text, or another request to Evolution."""

    text: str | None = None
    path: str | None = Field(default=None, description="Evolution's path, if it is not a text")
    body: dict[str, Any] | None = None


class Executed(BaseModel):
    """The execution of n8n, if it is known."""

    execution_id: str | None = None
    execution_url: str | None = None


class TriedFlow(Executed):
    """The result of a test turn. If it has an `error`, a real turn would have been retried."""

    ok: bool
    flow: str = Field(description="The URL to which the turn was posted")
    contract: Contract
    said: list[SaidMessage] = Field(description="What the customer would have got, in order")
    handoff: dict[str, Any] | None = None
    silence: str | None = None
    usage: dict[str, Any] | None = None
    error: str | None = None
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """Which flow is tried, and with which text of a customer.

    Only the deployment may choose `flow` and `in_editor`: n8n's test webhook, which listens for one
    request while the editor waits.
    """

    instance_name: str
    text: str = TEXT
    flow: str | None = None
    contract: Contract | None = None
    in_editor: bool = False


class FlowTrial:
    """Posts test turns to n8n."""

    def __init__(
        self, http: httpx.AsyncClient, rules: FlowRules, prompt: PromptRules, sounds: Sounds
    ) -> None:
        self._http = http
        self._rules = rules
        self._prompt = prompt
        self._sounds = sounds

    async def run(self, database: Database, wanted: Trial) -> TriedFlow:
        """Try a flow, and wait until it has ended. `database` is the state as the caller sees it.

        Raises NotFound, NotAllowed and Conflict; the result says what is wrong with the flow.
        """
        terms, began = self._rules.terms, monotonic()
        named = wanted.flow or ("(its own)" if wanted.in_editor or wanted.contract else None)
        asked = BeginDryTurn(
            instance_name=wanted.instance_name, seconds=terms.answer + _MARGIN, flow=named
        )
        dry = await begin_dry_turn(database, asked)
        turn = _turn(dry, wanted.text)
        contract = wanted.contract or dry.tenant.n8n_contract or self._rules.contract
        url = self._url(wanted.flow or dry.tenant.n8n_flow, in_editor=wanted.in_editor)
        tried = TriedFlow(ok=False, flow=url, contract=contract, said=[], seconds=0)
        try:
            payload = self._payload(turn, dry, contract)
            is_answered = await self._post(turn, url, payload, tried)
            until = began + terms.answer
            await self._ended(database, wanted.instance_name, dry, tried, until, now=is_answered)
            if tried.error is not None and contract == "answer":
                tried.error += _BEGUN_ONLY
        except NoSuchFlow as error:
            tried.error = f"{error}{_EDITOR if wanted.in_editor else _PUBLISH}"
        except NotTaken as error:
            tried.error = str(error)
        except LlmError as error:
            tried.error = str(error)
            if tried.error.endswith(_NO_MORE_SAID):
                tried.error += _IN_N8N
        finally:
            await self._close(database, wanted.instance_name, dry, tried)
        tried.ok = tried.error is None
        tried.seconds = round(monotonic() - began, 3)
        return tried

    def _url(self, flow: str | None, *, in_editor: bool) -> str:
        url = self._rules.url_of(flow)
        return for_editor(url) if in_editor else url

    def _payload(self, turn: ClaimedTurn, dry: BegunDryTurn, contract: Contract) -> TurnPayload:
        terms = self._rules.terms
        payload = build_payload(turn, prompt_of_turn(turn, self._prompt), terms, contract)
        base = f"{terms.base_url.rstrip('/')}/n8n/dry"
        callbacks = f"{base}/turns/{dry.dry_turn_id}"
        return payload.model_copy(
            update={
                "dry": True,
                "token": str(DryToken(dry.dry_turn_id, dry.token)),
                "lease_seconds": terms.answer,
                "urls": FlowUrls(
                    gateway=f"{base}/evolution",
                    began=f"{callbacks}/began",
                    done=f"{callbacks}/done",
                    fail=f"{callbacks}/fail",
                    handoff=f"{callbacks}/handoff",
                    extend=f"{callbacks}/extend",
                ),
            }
        )

    async def _post(
        self, turn: ClaimedTurn, url: str, payload: TurnPayload, tried: TriedFlow
    ) -> bool:
        """Post the turn. Return whether the flow has answered it. Raises NotTaken and LlmError."""
        if not self._rules.webhooks_url:
            raise NotTaken(_NOT_USED, "n8n")
        answers = payload.contract == "answer"
        headers = headers_with(self._rules.api_key)
        seconds = self._rules.terms.answer if answers else _ACCEPTED
        answer = await ask_flow(self._http, url, payload.model_dump_json(), headers, seconds)
        editor = self._rules.editor_url
        _tell_execution(tried, execution_in(answer, editor))
        if not answers and answer.is_success:
            _tell_execution(tried, execution_in(answer, editor, said_in(answer)))
            return False
        said = await understand(answer, turn, seconds)
        _tell_execution(tried, execution_in(answer, editor, said.execution_id))
        if not isinstance(said, Answered):
            return False
        _tell(said, tried)
        if (fault := await fault_in(said.parts, self._sounds)) is not None:
            raise LlmFailed(fault)
        return True

    async def _ended(
        self,
        database: Database,
        name: str,
        dry: BegunDryTurn,
        tried: TriedFlow,
        until: float,
        *,
        now: bool,
    ) -> None:
        """Wait until a flow of the gateway contract has ended its turn; `now`: it has answered."""
        while not now:
            so_far = await _look(database, name, dry, close=False)
            if so_far.is_over:
                return
            if monotonic() >= until:
                seconds = self._rules.terms.answer
                tried.error = (
                    f"the flow called neither done, fail nor handoff within {seconds:g} seconds:"
                    " see its execution in n8n"
                )
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _close(
        self, database: Database, name: str, dry: BegunDryTurn, tried: TriedFlow
    ) -> None:
        """End the test turn, and return what the flow sent in it."""
        last = await _look(database, name, dry, close=True)
        sent = [_message(each["path"], each["body"]) for each in last.said]
        tried.said = [*sent, *tried.said]
        ended = dict(last.ended or {})
        match ended.pop("how", None):
            case "fail":
                tried.error = f"the flow reports {ended.get('kind')}: {ended.get('error')}"
            case "handoff":
                tried.handoff = ended
            case "done":
                if reason := ended.pop("reason", None):
                    tried.silence = reason
                tried.usage = ended or None


_NOT_USED = "n8n is not used here: set N8N_ENABLED, N8N_WEBHOOK_URL and N8N_API_KEY"
_PUBLISH = ". Is the workflow published, and N8N_WEBHOOK_URL right?"
_NO_MORE_SAID = "Error in workflow"
_IN_N8N = ": n8n says no more. Its Executions, the newest red one, name the node and the reason"
_BEGUN_ONLY = (
    ". Its webhook answered at once, as one of the gateway contract: if the flow is to answer, set"
    " Respond of its Webhook node to Using 'Respond to Webhook' Node"
)
_EDITOR = (
    ". Unpin the example of its webhook and press Execute workflow first: n8n's test webhook"
    " listens once, for two minutes"
)


async def _look(database: Database, name: str, dry: BegunDryTurn, *, close: bool) -> DryTurnSoFar:
    asked = LookAtDryTurn(instance_name=name, dry_turn_id=dry.dry_turn_id, close=close or None)
    return await look_at_dry_turn(database, asked)


def _turn(dry: BegunDryTurn, text: str) -> ClaimedTurn:
    """Return the test turn as a claimed one, with a made-up contact."""
    message = TurnMessage(
        message_id=dry.dry_turn_id,
        wa_id=f"DRY{uuid4().hex[:17].upper()}",
        from_me=False,
        sender="contact",
        kind="text",
        body=text,
        quoted=None,
        author_name=None,
        sent_at=dry.now,
        in_turn=True,
    )
    return ClaimedTurn(
        turn_id=dry.dry_turn_id,
        token=dry.token,
        attempt=1,
        now=dry.now,
        reply=None,
        correlation_id=f"dry-{dry.dry_turn_id}",
        tenant=dry.tenant,
        session=TurnSession(
            session_id=0,
            chat="contact",
            jid=DRY_JID,
            jids=(DRY_JID,),
            contact_name="Test",
        ),
        parts=(),
        history=(message,),
    )


def _tell_execution(tried: TriedFlow, execution: Execution | None) -> None:
    if execution is not None:
        tried.execution_id, tried.execution_url = execution.execution_id, execution.url


def _tell(said: Answered, tried: TriedFlow) -> None:
    for each in said.parts:
        if not isinstance(each, str) and "handoff" in each:
            tried.handoff = dict(each["handoff"])
            if "text" in each:
                tried.said.append(_part(str(each["text"])))
        else:
            tried.said.append(_part(each))
    tried.silence = said.silence
    tried.usage = {name: value for name, value in said.cost.items() if value is not None} or None


def _part(part: Part) -> SaidMessage:
    if isinstance(part, str):
        return SaidMessage(text=part)
    return _message(part["path"], shown_values(part["body"]))


def _message(path: str, body: dict[str, Any]) -> SaidMessage:
    if path == TEXT_PATH and set(body) == {"text"}:
        return SaidMessage(text=body["text"])
    return SaidMessage(path=path, body=body)
