"""A flow is asked for an answer: what becomes of the turn, whatever n8n does."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.llm.errors import LlmAccountRefused, LlmAway, LlmEmpty, LlmError, LlmFailed, LlmRefused
from router.llm.provider import Prompt, PromptMessage
from router.n8n.answering import N8nAway, N8nDied, TookTooLong
from router.n8n.flows import FlowRules
from router.n8n.handler import N8nHandler
from router.n8n.payload import FlowTerms
from router.replies.making import HandedOver, Reply, Silence
from router.sending.outcomes import SendStopped
from router.state.calls.claimed_turn import ClaimedTurn
from tests.unit.test_fallback import turn

TERMS = FlowTerms("http://router.example", 90, {"anthropic": "c", "openai": "g"}, 1000, answer=42)
RULES = FlowRules("http://n8n.example/webhook", SecretStr("key"), TERMS, False, 15, "answer", 30)
PROMPT = Prompt("Be kind.", (PromptMessage("user", "oi"),))
OK = {"text": "oi"}


class Database:
    def __init__(self, refused: str | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._refused = refused

    async def call(self, function: str, argument: Mapping[str, object]) -> dict[str, Any]:
        self.asked.append((function, dict(argument)))
        return {"refused": self._refused} if self._refused else {"ok": True}


class Fallback:
    def __init__(self, *, has_key: bool = True) -> None:
        self.made = 0
        self._has_key = has_key

    def has_key(self, turn: ClaimedTurn) -> bool:
        return self._has_key

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply:
        self.made += 1
        return Reply(parts=("of the fallback",), handler="fallback")


class Office:
    """A handler before an n8n that does as it is told."""

    def __init__(
        self, answer: Callable[[httpx.Request], httpx.Response] | httpx.Response, **rules: Any
    ) -> None:
        self.requests: list[httpx.Request] = []
        self.database = Database(rules.pop("refused", None))
        self.fallback = Fallback(has_key=rules.pop("has_key", True))

        def answered(request: httpx.Request) -> httpx.Response:
            if not request.content:
                return httpx.Response(403)  # a probe
            self.requests.append(request)
            return answer if isinstance(answer, httpx.Response) else answer(request)

        http = httpx.AsyncClient(transport=httpx.MockTransport(answered))
        terms = {
            name: rules.get(name, getattr(RULES, name)) for name in ("contract", "wait_for_n8n")
        }
        self.handler = N8nHandler(
            http,
            self.database,
            FlowRules(
                RULES.webhooks_url,
                RULES.api_key,
                TERMS,
                probe_seconds=15,
                editor_url="http://n8n.example",
                **terms,
            ),
            self.fallback,
        )

    async def make(self, asked: ClaimedTurn | None = None) -> Reply | Silence | HandedOver:
        return await self.handler.make(asked or turn(), PROMPT)

    @property
    def posted(self) -> Any:
        return json.loads(self.requests[-1].content)


def says(answer: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=answer)


def turned_away(status: int) -> httpx.Response:
    """What n8n itself answers."""
    if status == 404:
        why = 'The requested webhook "POST typo" is not registered.'
        return says({"code": 404, "message": why, "hint": "Activate it."}, 404)
    return httpx.Response(status, text="Authorization data is wrong!")


def raising(error: type[Exception]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("it is so")

    return answer


async def test_what_a_flow_answers_is_a_reply():
    usage = {"provider": "anthropic", "model": "c", "tokens_in": 7, "tokens_out": 2}
    office = Office(says({"text": "Temos!", "usage": usage}))
    reply = await office.make()
    assert reply == Reply(("Temos!",), "n8n", "anthropic", "c", 7, 2)
    assert office.database.asked[0][0] == "forward_turn"
    assert office.database.asked[0][1]["lease_seconds"] == 30
    assert [name for name, _ in office.database.asked] == ["forward_turn"]


async def test_no_more_turns_are_posted_at_once_than_n8n_may_have():
    """Those that stood all come when what they waited for is back: no claim counts them."""
    there, most = set[int](), 0
    may_end = asyncio.Event()

    async def answered(request: httpx.Request) -> httpx.Response:
        nonlocal most
        turn_id = json.loads(request.content)["turn_id"]
        there.add(turn_id)
        most = max(most, len(there))
        await may_end.wait()
        there.remove(turn_id)
        return says(OK)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as http:
        rules = replace(RULES, at_once=2)
        handler = N8nHandler(http, Database(), rules, Fallback())
        waiting = [turn().model_copy(update={"turn_id": number}) for number in range(7)]
        made = [asyncio.create_task(handler.make(each, PROMPT)) for each in waiting]
        while len(there) < 2:
            await asyncio.sleep(0)
        may_end.set()
        assert all(isinstance(each, Reply) for each in await asyncio.gather(*made))
    assert most == 2


async def test_tokens_that_are_not_told_are_not_known():
    reply = await Office(says(OK)).make()
    assert isinstance(reply, Reply)
    assert (reply.tokens_in, reply.tokens_out) == (None, None)


async def test_it_is_posted_as_version_2_with_its_seconds():
    office = Office(says(OK))
    await office.make()
    posted = office.posted
    assert (posted["version"], posted["contract"], posted["lease_seconds"]) == (2, "answer", 42)
    assert office.requests[0].url == "http://n8n.example/webhook/hybridflow-turn"
    assert office.requests[0].extensions["timeout"]["read"] == 42


async def test_a_flow_by_the_gateway_contract_is_posted_version_1():
    office = Office(says({"execution_id": "7"}), contract="gateway")
    assert isinstance(await office.make(), HandedOver)
    posted = office.posted
    assert (posted["version"], posted["contract"], posted["lease_seconds"]) == (1, "gateway", 90)


async def test_a_tenants_own_flow_and_contract_go_before_the_deployments():
    office = Office(says({"execution_id": "7"}))
    own = turn(n8n_flow="bakery/hybridflow-turn", n8n_contract="gateway")
    assert isinstance(await office.make(own), HandedOver)
    assert office.requests[0].url == "http://n8n.example/webhook/bakery/hybridflow-turn"
    assert office.posted["version"] == 1


async def test_silence_is_told_with_its_cost():
    silent = await Office(says({"silence": "an emoji", "usage": {"tokens_in": 3}})).make()
    assert isinstance(silent, Silence)
    assert silent.why == "an emoji"
    assert silent.cost["tokens_in"] == 3


def named(answer: object, workflow: str, status: int = 200) -> httpx.Response:
    """An answer as the standard flow gives it."""
    return httpx.Response(status, json=answer, headers={"X-N8N-Execution": workflow})


async def test_an_execution_that_is_named_goes_with_the_reply():
    office = Office(named(OK, "hybridflowInbound/4711"))
    reply = await office.make()
    assert isinstance(reply, Reply)
    url = "http://n8n.example/workflow/hybridflowInbound/executions/4711"
    assert (reply.execution_id, reply.execution_url) == ("4711", url)
    assert [name for name, _ in office.database.asked] == ["forward_turn"]


async def test_that_of_a_flow_that_is_silent_is_noted():
    office = Office(named({"silence": "an emoji"}, "hybridflowInbound/4711"))
    await office.make()
    name, asked = office.database.asked[1]
    assert (name, asked["execution_id"], asked["by_n8n"]) == ("begin_flow", "4711", True)


@pytest.mark.parametrize("status", [200, 500])
async def test_that_of_a_flow_that_failed_goes_with_the_error(status: int):
    office = Office(named({"error": {"message": "no"}}, "abc/12", status))
    with pytest.raises(LlmError) as failed:
        await office.make()
    assert failed.value.execution == ("12", "http://n8n.example/workflow/abc/executions/12")
    assert [name for name, _ in office.database.asked] == ["forward_turn"]


@pytest.mark.parametrize("header", ["12", "../12", "a b/12", "x/../12", "/12", "a" * 65 + "/12"])
async def test_without_a_workflow_that_can_be_one_there_is_no_link(header: str):
    reply = await Office(named(OK, header)).make()
    assert isinstance(reply, Reply)
    assert (reply.execution_id, reply.execution_url) == ("12", None)


async def test_so_it_is_however_the_answer_is_wrapped_and_what_is_none_is_told(
    caplog: pytest.LogCaptureFixture,
):
    office = Office(says([{"json": {**OK, "execution_id": "4711"}}]))
    reply = await office.make()
    assert isinstance(reply, Reply)
    assert (reply.execution_id, reply.execution_url) == ("4711", None)
    office = Office(says({**OK, "execution_id": "../workflows/7"}))
    await office.make()
    assert len(office.database.asked) == 1
    assert "must answer with `$execution.id`" in caplog.text


@pytest.mark.parametrize("contract", ["answer", "gateway"])
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_tenants_own_flow_that_is_closed_says_nothing_of_n8n(contract: str, status: int):
    office = Office(turned_away(status))
    for _ in range(7):
        reply = await office.make(turn(n8n_flow="typo", n8n_contract=contract))
        assert isinstance(reply, Reply)
    assert len(office.requests) == 5
    assert not office.handler.breaker.failures


@pytest.mark.parametrize("said", [{"execution_id": "7"}, {"message": "Workflow was started"}])
async def test_a_flow_of_version_1_still_has_its_turn(said: Any, caplog: pytest.LogCaptureFixture):
    office = Office(says(said))
    assert isinstance(await office.make(), HandedOver)
    leases = [a["lease_seconds"] for name, a in office.database.asked if name == "forward_turn"]
    assert leases == [30, 90]
    await office.make()
    lines = [line for line in caplog.records if "only says that it has begun" in line.getMessage()]
    assert len(lines) == 1


async def test_a_turn_that_is_not_held_any_more_is_not_posted():
    office = Office(says(OK), refused="stale")
    with pytest.raises(SendStopped, match="stale"):
        await office.make()
    assert not office.requests


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'""', b"[]"])
async def test_an_empty_answer_is_a_failed_attempt(body: bytes):
    for status in (200, 201, 204):
        with pytest.raises(LlmFailed):
            await Office(httpx.Response(status, content=body)).make()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (says({"message": "Error in workflow"}, 500), LlmFailed),
        (says({"error": {"message": "429 - too many requests"}}), LlmAway),
        (says({"error": "401 invalid x-api-key"}), LlmAccountRefused),
        (says({"error": {"message": "overloaded", "status": 529}}), LlmAway),
        (says({"choices": [{"message": {"refusal": "no", "content": None}}]}), LlmRefused),
        (says({"text": " "}), LlmEmpty),
        (says({"text": "Agent stopped due to max iterations."}), LlmFailed),
        (httpx.Response(200, text="<html>hello</html>"), LlmFailed),
        (says({"error": "no such order"}, 422), LlmFailed),
        (httpx.Response(429), LlmAway),
        (httpx.Response(502), LlmAway),
        (httpx.Response(503), LlmAway),
        (httpx.Response(504), LlmFailed),
        (httpx.Response(524), LlmFailed),
        (raising(httpx.RemoteProtocolError), LlmAway),
        (raising(httpx.ReadError), LlmAway),
        (raising(httpx.WriteError), LlmAway),
        (raising(httpx.DecodingError), LlmFailed),
    ],
)
async def test_each_failure_is_of_its_kind(answer: Any, kind: type[LlmError]):
    office = Office(answer)
    with pytest.raises(LlmError) as raised:
        await office.make()
    assert isinstance(raised.value, kind)
    assert not office.fallback.made  # this attempt's flow may still run


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.WriteTimeout])
async def test_a_flow_that_is_too_slow_is_told_how_long_it_has(error: type[Exception]):
    office = Office(raising(error))
    with pytest.raises(LlmFailed, match=r"within 42 seconds \(N8N_ANSWER_SECONDS\)"):
        await office.make()
    assert not office.handler.breaker.failures


CLOUDFLARE = (
    "<!DOCTYPE html>\n<html lang=en><head><title>n8n.shop.example | {}</title></head></html>"
)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (httpx.Response(504, text="<html>"), TookTooLong, "the flow after 0 seconds .* 504"),
        (httpx.Response(524, text=CLOUDFLARE.format(524)), TookTooLong, "above the 42 seconds"),
        (httpx.Response(524, text="error code: 524"), TookTooLong, "N8N_ANSWER_SECONDS"),
        (httpx.Response(522, text=CLOUDFLARE.format("522: Connection timed out")), N8nDied,
         "^n8n answered 522: a page of the proxy before n8n: n8n.shop.example . 522: Conn"),
        (httpx.Response(521, text="error code: 521"), N8nDied, "521"),
        (httpx.Response(502, text="<html>\r\n<head><title>502 Bad Gateway</title></head>"), N8nDied,
         "the proxy before n8n: 502 Bad Gateway$"),
        (says({"error": {"message": "slow", "status": 504}}, 504), LlmAway, "the LLM, .* is away"),
        (httpx.Response(529), LlmAway, "the LLM, .* is away"),
    ],
)  # fmt: skip
async def test_what_stands_before_n8n_is_no_flow_and_no_llm(
    answer: Any, kind: type[LlmError], told: str
):
    office = Office(answer)
    with pytest.raises(kind, match=told) as raised:
        await office.make()
    assert type(raised.value) is kind
    assert "<" not in str(raised.value)
    assert office.handler.breaker.failures == (kind is N8nDied)


@pytest.mark.parametrize("status", [502, 503, 520, 504])
@pytest.mark.parametrize(
    "told",
    [
        {"json": {"error": {"message": "503 - overloaded"}}},
        {"text": "Overloaded", "headers": {"X-N8N-Execution": "shop/7"}},
    ],
)
@pytest.mark.parametrize("contract", ["answer", "gateway"])
async def test_what_a_flow_passes_on_of_its_model_says_nothing_of_n8n(
    status: int, told: dict[str, Any], contract: str
):
    """Three such answers of one tenant's flow would take n8n from all the others."""
    office = Office(httpx.Response(status, **told), contract=contract)
    with pytest.raises(LlmError) as raised:
        await office.make()
    assert isinstance(raised.value, LlmAway if contract == "answer" else LlmFailed)
    assert not isinstance(raised.value, N8nAway | TookTooLong)
    assert not office.handler.breaker.failures


async def test_what_cloudflare_turns_away_the_fallback_answers():
    office = Office(httpx.Response(403, text="error code: 1020"))
    assert isinstance(await office.make(), Reply)
    assert office.fallback.made == 1


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_what_n8n_certainly_has_not_begun_the_fallback_answers(error: type[Exception]):
    office = Office(raising(error))
    reply = await office.make()
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"
    assert office.handler.breaker.failures == 1


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout])
async def test_or_it_waits_for_n8n(error: type[Exception]):
    office = Office(raising(error), wait_for_n8n=True)
    with pytest.raises(LlmAway, match="n8n is away"):
        await office.make()


async def test_without_a_key_of_its_own_the_fallback_takes_nothing_and_n8n_is_waited_for():
    office = Office(raising(httpx.ConnectError), has_key=False)
    for _ in range(4):  # its breaker opens
        with pytest.raises(LlmAway, match="n8n is away"):
            await office.make()
    assert not office.fallback.made


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413])
async def test_what_n8n_does_not_take_the_fallback_answers(status: int):
    office = Office(turned_away(status))
    reply = await office.make()
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"


async def test_an_n8n_that_dies_again_and_again_is_left_alone():
    office = Office(raising(httpx.RemoteProtocolError))
    for _ in range(3):
        with pytest.raises(LlmAway):
            await office.make()
    assert office.handler.breaker.is_open
    reply = await office.make()
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"


async def test_one_tenants_flow_that_is_not_there_takes_n8n_from_nobody_else():
    office = Office(turned_away(404))
    for _ in range(7):
        await office.make(turn(n8n_flow="typo"))
    assert len(office.requests) == 5  # then its own breaker is open
    assert not office.handler.breaker.failures


async def test_a_flow_that_always_fails_is_answered_by_the_fallback():
    office = Office(says({"message": "Error in workflow"}, 500))
    for _ in range(5):
        with pytest.raises(LlmFailed):
            await office.make()
    reply = await office.make()
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"
    assert not office.handler.breaker.failures


async def test_what_its_llm_lacks_is_not_the_flows():
    answers = [says({"error": "429 rate limit"}), says({"text": ""})] * 4

    office = Office(lambda _: answers.pop())
    for _ in range(8):
        with pytest.raises(LlmError):
            await office.make()
    assert not answers


async def test_a_release_is_no_lapse_of_a_flow_that_answers():
    office = Office(says(OK))
    before = turn().model_copy(update={"last_handler": "n8n", "attempt": 5})
    reply = await office.make(before)
    assert isinstance(reply, Reply)
    assert reply.handler == "n8n"
    assert not office.handler.breakers.failures(1, "hybridflow-turn")


async def test_a_reaction_may_name_a_message_of_this_conversation_alone():
    said = {"messages": [{"reaction": "👍", "to": "3A01"}]}
    reply = await Office(says(said)).make()
    assert isinstance(reply, Reply)
    with pytest.raises(LlmFailed, match=r"messages\[0\].to"):
        await Office(says({"messages": [{"reaction": "👍", "to": "3AFF"}]})).make()


async def test_a_long_answer_is_read_beside_everything_else():
    reply = await Office(says({"text": "palavra " * 5000})).make()
    assert isinstance(reply, Reply)
    assert len(reply.parts) > 5
