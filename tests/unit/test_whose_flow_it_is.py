"""What a flow is taken for: one that has begun, that sends by itself, or that was never asked."""

from typing import Any

import httpx
import pytest

from router.llm.errors import LlmAccountRefused, LlmAway, LlmError, LlmFailed, LlmMisconfigured
from router.n8n.flow_errors import failure_of
from router.replies.making import HandedOver, Reply
from tests.unit.test_answering import OK, Office, says, turned_away
from tests.unit.test_fallback import turn

BEGUN = {"execution_id": "7"}
NO_POST = "This webhook is not registered for POST requests. Did you mean to make a GET request?"
NO_GET = "This webhook is not registered for GET requests. Did you mean to make a POST request?"
NOT_FOUND = "The resource you are requesting could not be found"  # what n8n 2.20 tells of a 404
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
        httpx.Response(404, json={"code": 404, "message": NO_POST}),
    ],
)
async def test_what_n8n_or_its_proxy_turns_away_the_fallback_answers(contract: str, answer: Any):
    office = Office(answer, contract=contract)
    assert isinstance(await office.make(), Reply)
    assert office.fallback.made == 1


async def test_a_flow_whose_webhook_takes_no_post_is_told_the_cure(caplog):
    office = Office(httpx.Response(404, json={"code": 404, "message": NO_POST}))
    await office.make()
    assert "set the HTTP Method of its Webhook node to POST" in caplog.text
    assert "GET request" not in caplog.text


@pytest.mark.parametrize("contract", ["answer", "gateway"])
async def test_a_webhook_with_another_credential_than_the_routers_is_told_the_cure(
    contract: str, caplog
):
    """n8n's editor chooses one by itself, where there are several of the kind."""
    office = Office(httpx.Response(403, text="Authorization data is wrong!"), contract=contract)
    await office.make()
    assert "choose the credential HybridFlow and n8n" in caplog.text


async def test_a_turn_that_has_failed_never_tries_a_flow_that_is_given_up():
    """A lone conversation: its attempts are further apart than the tries are."""
    office = Office(says({"message": "Error in workflow"}, 500))
    office.handler.breakers.all.pause = 0.0
    for attempt in range(1, 6):
        with pytest.raises(LlmFailed):
            await office.make(turn().model_copy(update={"attempt": attempt}))
    with pytest.raises(LlmFailed):  # another one, which tries it
        await office.make()
    reply = await office.make(turn().model_copy(update={"attempt": 6}))
    assert isinstance(reply, Reply)
    assert reply.handler == "fallback"


@pytest.mark.parametrize("is_published", [True, False])
async def test_a_webhook_that_is_open_to_anybody_is_there_and_is_not_begun_by_a_look(
    is_published: bool,
):
    asked: list[str] = []

    def n8n(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if is_published and request.method == "POST":
            return says(OK)
        why = NO_GET if is_published else 'The requested webhook "GET x" is not registered.'
        return says({"code": 404, "message": why}, 404)

    office = Office(says(OK))
    office.handler._http = httpx.AsyncClient(transport=httpx.MockTransport(n8n))
    assert await office.handler.is_alive() is is_published
    assert asked == (["GET"] if is_published else ["GET", "POST"])


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
        ({"message": NOT_FOUND}, LlmFailed),
        ({"message": NOT_FOUND, "description": "model: claude-nobody"}, LlmMisconfigured),
        ("401 invalid x-api-key", LlmAccountRefused),
        ({"message": "The model `gpt-9` does not exist", "httpCode": "404"}, LlmMisconfigured),
        ({"message": "Quota exceeded for requests per minute", "httpCode": "429"}, LlmAway),
        ({"message": "quota exceeded per minute", "status": 429}, LlmAway),
        ("429 You exceeded your current quota, check billing", LlmAccountRefused),
    ],
)
def test_an_error_is_the_llms_only_where_it_says_so(error: Any, kind: type[LlmError]):
    assert type(failure_of(error, where="the flow failed")) is kind
