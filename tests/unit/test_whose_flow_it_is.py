"""What a flow is taken for: one that has begun, that sends by itself, or that was never asked."""

from typing import Any

import httpx
import pytest

from router.llm.provider import LlmAccountRefused, LlmAway, LlmError, LlmFailed, LlmMisconfigured
from router.n8n.flow_errors import failure_of
from router.replies.making import HandedOver, Reply
from tests.unit.test_answering import OK, Office, says, turned_away
from tests.unit.test_fallback import turn

BEGUN = {"execution_id": "7"}
LAPSED = {"last_handler": "n8n", "last_error": None}


async def test_a_flow_that_begins_by_itself_and_falls_silent_is_counted():
    """A deployment that was upgraded, with the flow of before: it has no contract of its own."""
    office = Office(says(BEGUN))
    assert isinstance(await office.make(), HandedOver)
    for attempt in (2, 3):
        reply = await office.make(turn().model_copy(update={**LAPSED, "attempt": attempt}))
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"
    assert office.handler.breakers.failures(turn().tenant.tenant_id, "hybridflow-turn") == 2


async def test_what_answers_again_has_no_lapses():
    answers = [says(BEGUN), says(OK), says(OK)]
    office = Office(lambda _: answers.pop(0))
    await office.make()
    await office.make()
    reply = await office.make(turn().model_copy(update={**LAPSED, "attempt": 5}))
    assert isinstance(reply, Reply)
    assert reply.handler == "n8n"
    assert not office.handler.breakers.failures(turn().tenant.tenant_id, "hybridflow-turn")


@pytest.mark.parametrize(
    "said",
    [
        OK,
        {"output": "oi"},
        [{"json": OK}],
        {"messages": [{"text": "oi"}]},
        {"handoff": {"reason": "x"}},
        {"silence": "no need"},
        {"choices": [{"message": {"content": "oi"}}]},
        {"text": "palavra " * 2000},
    ],
)
async def test_an_answer_under_the_gateway_contract_fails_and_names_it(said: Any):
    office = Office(says(said), contract="gateway")
    with pytest.raises(LlmFailed, match="n8n_contract"):
        await office.make()


@pytest.mark.parametrize(
    "said",
    [BEGUN, {**BEGUN, **OK}, {}, {"result": "ok"}, {"message": "Workflow was started"}, "ok", []],
)
async def test_whatever_else_it_says_it_has_the_turn(said: Any):
    assert isinstance(await Office(says(said), contract="gateway").make(), HandedOver)


@pytest.mark.parametrize("contract", ["answer", "gateway"])
@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("said", [None, {"message": "no such order"}, {"error": "x"}, "x", {}])
async def test_a_flows_own_refusal_is_no_word_of_n8n(contract: str, status: int, said: Any):
    own = httpx.Response(status) if said is None else says(said, status)
    office = Office(own, contract=contract)
    with pytest.raises(LlmFailed):
        await office.make()
    assert not office.fallback.made


@pytest.mark.parametrize("contract", ["answer", "gateway"])
@pytest.mark.parametrize(
    "answer",
    [
        turned_away(404),
        turned_away(403),
        httpx.Response(404, text="404 page not found\n"),
        httpx.Response(404, text="<html><h1>404 Not Found</h1></html>"),
        httpx.Response(403, text="IP is not whitelisted to access the webhook!"),
    ],
)
async def test_what_n8n_or_its_proxy_turns_away_the_fallback_answers(contract: str, answer: Any):
    office = Office(answer, contract=contract)
    assert isinstance(await office.make(), Reply)
    assert office.fallback.made == 1


async def test_the_flow_that_is_wanted_is_probed():
    probed: list[str] = []
    office = Office(says(OK))

    def answered(request: httpx.Request) -> httpx.Response:
        if not request.content:
            probed.append(request.url.path)
            return httpx.Response(403 if "bakery" in request.url.path else 404)
        return says(OK)

    office.handler._http = httpx.AsyncClient(transport=httpx.MockTransport(answered))
    office.handler.breaker.opens(-100_000.0)
    reply = await office.make(turn(n8n_flow="bakery/turn"))
    assert isinstance(reply, Reply)
    assert reply.handler == "n8n"
    assert probed == ["/webhook/bakery/turn"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "the calendar is not shared", "httpCode": "403"}, LlmFailed),
        ({"message": "The resource could not be found", "httpCode": "404"}, LlmFailed),
        ({"message": "Request failed with status code 401"}, LlmFailed),
        ("401 invalid x-api-key", LlmAccountRefused),
        ({"message": "The model `gpt-9` does not exist", "httpCode": "404"}, LlmMisconfigured),
        ({"message": "Quota exceeded for requests per minute", "httpCode": "429"}, LlmAway),
        ({"message": "quota exceeded per minute", "status": 429}, LlmAway),
        ("429 You exceeded your current quota, check billing", LlmAccountRefused),
    ],
)
def test_an_error_is_the_llms_only_where_it_says_so(error: Any, kind: type[LlmError]):
    assert type(failure_of(error, where="the flow failed")) is kind
