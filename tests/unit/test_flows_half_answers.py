"""A flow that passes on half an answer of its LLM, none before the limit, or an error in a 200."""

import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.llm.endings import ending_of
from router.llm.errors import LlmAccountRefused, LlmAway, LlmError, LlmOutOfRoom, LlmRefused
from router.n8n.answered_messages import Conversation
from router.n8n.flows import FlowRules
from router.n8n.handler import N8nHandler
from router.n8n.payload import FlowTerms
from router.n8n.reply import Answered, read_answer
from router.replies.making import Reply
from tests.unit.test_answers_of_n8n import PROMPT, Database
from tests.unit.test_fallback import turn

ABOUT = Conversation("5511955550001@s.whatsapp.net", {})
TERMS = FlowTerms("http://router.example", 90, {"anthropic": "c", "openai": "g"}, 1000)
RULES = FlowRules("http://n8n.example/webhook", SecretStr("key"), TERMS, True, 15, "answer")
HALF = "O bolo custa R"
ERROR = {"code": 502, "message": "Provider returned error"}


def completion(content: object, finish: str | None = "stop", **choice: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    given = {"index": 0, "finish_reason": finish, "message": message, **choice}
    return {"id": "g", "object": "chat.completion", "model": "m", "choices": [given]}


def read(answer: Any) -> Answered:
    read = read_answer(json.dumps(answer).encode(), ABOUT)
    assert isinstance(read, Answered)
    return read


@pytest.mark.parametrize(
    "answer",
    [
        completion(HALF, "error", error=ERROR),
        completion(HALF, "error"),
        completion(HALF, "stop", error=ERROR),
        completion(HALF, "insufficient_system_resource"),
        completion(HALF, "network_error"),
        completion([{"type": "text", "text": HALF}], "error"),
        {**completion(HALF), "error": ERROR},
        {**completion(""), "choices": [], "error": ERROR},
        {"content": [{"type": "text", "text": HALF}], "stop_reason": "error"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"output": [], "status": "failed", "error": ERROR},
        [{"json": completion(HALF, "error")}],
    ],
)
def test_half_an_answer_reaches_nobody_and_is_asked_for_again(answer: Any):
    with pytest.raises(LlmAway):
        read(answer)


def test_an_error_in_a_200_is_judged_by_its_code():
    for code, kind in ((429, LlmAway), (402, LlmAccountRefused)):
        error = {"code": code, "message": "Insufficient credits on the key of this model"}
        with pytest.raises(kind):
            read({**completion(HALF), "error": error})


NOTHING: list[Any] = [
    completion("", "length"),
    completion(None, "length"),
    completion("<think>The customer asks the pri", "length"),
    completion("", "model_length"),
    {"type": "message", "content": [], "stop_reason": "max_tokens"},
    {"content": [{"type": "thinking", "thinking": "x"}], "stop_reason": "max_tokens"},
    {"output": [{"type": "reasoning"}], "incomplete_details": {"reason": "max_output_tokens"}},
    {"message": {"role": "assistant", "content": ""}, "done_reason": "length"},
]


@pytest.mark.parametrize("answer", NOTHING)
def test_a_limit_that_is_used_up_before_a_word_is_known_as_that(answer: Any):
    with pytest.raises(LlmOutOfRoom):
        read(answer)


@pytest.mark.parametrize("word", ["content_filter", "refusal", "sensitive"])
def test_a_model_that_declines_does(word: str):
    with pytest.raises(LlmRefused):
        read(completion(HALF, word))


def test_what_nobody_knows_ends_a_whole_text():
    assert [ending_of(word) for word in ("stop", "end_turn", "STOP", None, 7, "eos")] == [
        "whole"
    ] * 6
    assert ending_of("MAX_TOKENS") == "cut_off"


class Flow:
    """Answers one after the other, and remembers how many tokens it was allowed."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.limits: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.content:
            return httpx.Response(403)  # a probe
        self.limits.append(json.loads(request.content)["tenant"]["llm_max_tokens"])
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    @property
    def handler(self) -> N8nHandler:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return N8nHandler(http, Database(), RULES, None)  # type: ignore[arg-type]


async def test_a_flow_is_given_more_room_once():
    flow = Flow(completion("", "length"), completion("Custa R$ 32."))
    made = await flow.handler.make(turn(), PROMPT)
    assert isinstance(made, Reply)
    assert made.parts == ("Custa R$ 32.",)
    assert flow.limits == [1000, 4000]


@pytest.mark.parametrize(
    "second",
    [
        completion("", "length"),
        {"error": {"httpCode": 400, "message": "max_tokens is too large for this model"}},
        httpx.Response(500, json={"code": 0, "message": "Error in workflow"}),
        httpx.Response(504),
    ],
)
async def test_where_that_does_not_help_it_is_final_and_says_what_to_change(second: object):
    flow = Flow(completion("", "length"), second)
    handler = flow.handler
    with pytest.raises(LlmOutOfRoom, match="LLM_MAX_TOKENS"):
        await handler.make(turn(), PROMPT)
    assert flow.limits == [1000, 4000]
    assert not handler.breaker.is_open


async def test_an_llm_that_is_away_then_is_waited_for():
    flow = Flow(completion("", "length"), {"error": {"httpCode": 429, "message": "slow down"}})
    with pytest.raises(LlmError) as raised:
        await flow.handler.make(turn(), PROMPT)
    assert isinstance(raised.value, LlmAway)
