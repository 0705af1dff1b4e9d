"""OpenAI's official SDK against a loopback server that speaks its protocol."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from loopback.faults import Fault, wrong_answer
from loopback.openai import OpenAI
from loopback.replies import Reply, calls_tool, empty, filtered, refusal, truncated
from router.llm.errors import LlmAccountRefused, LlmAway, LlmError, LlmMisconfigured, LlmRefused
from router.llm.limits import limit_name
from router.llm.openai import OpenAiProvider
from router.llm.provider import Prompt, PromptMessage, Tool
from router.replies.hand_over import HAND_OVER
from router.state.calls.turns import MadeReply

KEY = "sk-made-up-key-000000000001"
PROMPT = Prompt(
    "Você atende a Loja.",
    (
        PromptMessage("user", "Oi"),
        PromptMessage("assistant", "Olá!"),
        PromptMessage("user", "Tem pão?"),
    ),
)


@pytest.fixture
def server() -> Iterator[OpenAI]:
    with OpenAI(key=KEY) as server:
        yield server


@pytest.fixture
async def provider(server: OpenAI) -> AsyncIterator[OpenAiProvider]:
    provider = made(server)
    yield provider
    await provider.close()


def made(server: OpenAI, key: str = KEY, timeout: float = 20) -> OpenAiProvider:
    return OpenAiProvider(
        SecretStr(key), base_url=server.base_url, model="gpt-4o-made-up", timeout=timeout
    )


def error(message: str, code: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def test_a_reply_comes_with_its_model_and_tokens(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers("Temos sim! 🥖")
    reply = await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (reply.text, reply.provider, reply.model) == (
        "Temos sim! 🥖",
        "openai",
        "gpt-4o-made-up",
    )
    assert reply.tokens_in > 0
    assert reply.tokens_out > 0
    assert not reply.truncated
    (asked,) = server.requests
    assert (asked.system, asked.max_tokens) == ("Você atende a Loja.", 300)
    assert asked.messages == (("user", "Oi"), ("assistant", "Olá!"), ("user", "Tem pão?"))


async def test_the_tenants_model_goes_before_the_default(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    assert (await provider.complete(PROMPT, model="gpt-4.1-other", max_tokens=9)).model == (
        "gpt-4.1-other"
    )


@pytest.mark.parametrize("declined", [refusal("I can't help with that."), filtered()])
async def test_a_refusal_is_told_as_one_without_its_words(
    server: OpenAI, provider: OpenAiProvider, declined: Reply
) -> None:
    server.answers(declined)
    with pytest.raises(LlmRefused) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert "help" not in str(raised.value)


async def test_an_answer_at_the_limit_is_marked_as_truncated(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers(truncated("Temos pão, e"), Reply("a" * 400))
    for limit in (300, 10):
        assert (await provider.complete(PROMPT, model=None, max_tokens=limit)).truncated


async def test_an_empty_answer_is_returned_as_it_is(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers(empty())
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text == ""


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (wrong_answer(429, error("slow down", "rate_limit_exceeded")), LlmAway),
        (wrong_answer(500, error("The server had an error")), LlmAway),
        (wrong_answer(502, "<html>Bad Gateway</html>"), LlmAway),
        (wrong_answer(503, error("overloaded")), LlmAway),
        (wrong_answer(400, error("bad")), LlmMisconfigured),
        (wrong_answer(401, error("Incorrect API key provided.")), LlmAccountRefused),
        (wrong_answer(403, error("no")), LlmAccountRefused),
        (wrong_answer(404, error("The model does not exist")), LlmMisconfigured),
        (wrong_answer(401, error(f"Incorrect API key provided: {KEY}")), LlmAccountRefused),
        (wrong_answer(401, f"no such key: {KEY}"), LlmAccountRefused),
        (wrong_answer(200, None), LlmAway),
        (wrong_answer(200, "a page"), LlmAway),
        (wrong_answer(200, []), LlmAway),
        (wrong_answer(200, error("the upstream model is away")), LlmAway),
        (wrong_answer(200, {"choices": []}), LlmAway),
        (wrong_answer(200, {"choices": [{"message": None}]}), LlmAway),
        (wrong_answer(200, {"choices": [{"message": {"content": [{}]}}]}), LlmAway),
    ],
)
async def test_every_error_says_whether_it_may_pass_and_never_the_key(
    server: OpenAI, provider: OpenAiProvider, fault: Fault, expected: type[LlmError]
) -> None:
    server.fail(fault)
    with pytest.raises(LlmError) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert type(raised.value) is expected
    assert "openai" in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(server.requests) == 1  # retries are the caller's


async def test_a_429_says_how_long_to_wait(server: OpenAI, provider: OpenAiProvider) -> None:
    server.fail(server.rate_limited(42))
    with pytest.raises(LlmAway) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert raised.value.retry_after == 42


async def test_a_cut_connection_may_pass(server: OpenAI, provider: OpenAiProvider) -> None:
    server.fail(server.cuts_connection())
    with pytest.raises(LlmAway, match="APIConnectionError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text


async def test_an_answer_that_does_not_come_ends_with_the_time_out(server: OpenAI) -> None:
    provider = made(server, timeout=0.2)
    server.fail(server.never_answers())
    with pytest.raises(LlmAway, match="APITimeoutError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    await provider.close()


@pytest.mark.parametrize("key", ["sk-wrong", "sk-é"])
async def test_a_wrong_key_is_somebodys_to_change(server: OpenAI, key: str) -> None:
    provider = made(server, key=key)
    with pytest.raises((LlmMisconfigured, LlmAccountRefused)) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert key not in str(raised.value)
    await provider.close()


async def test_a_provider_that_was_never_asked_can_be_closed(server: OpenAI) -> None:
    await made(server).close()


async def test_the_reason_of_a_refused_request_is_told(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.fail(wrong_answer(400, error("This model's context is 8192 tokens")))
    with pytest.raises(LlmMisconfigured, match="answered 400: This model's context is 8192"):
        await provider.complete(PROMPT, model=None, max_tokens=300)


async def test_a_compatible_server_that_counts_no_tokens_will_do(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Sim"}}
    server.fail(wrong_answer(200, {"model": "llama", "choices": [choice]}))
    reply = await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (reply.text, reply.model, reply.tokens_in, reply.tokens_out) == ("Sim", "llama", 0, 0)


NO_COUNT = [{}, 7, {"prompt_tokens": None, "completion_tokens": None}] + [
    {"prompt_tokens": count, "completion_tokens": count}
    for count in ("7", [7], True, -7, 10**12, 1e300)
]


@pytest.mark.parametrize("usage", NO_COUNT, ids=repr)
@pytest.mark.parametrize("model", [None, 7, ["llama"], ""], ids=repr)
async def test_what_no_count_and_no_name_is_costs_no_reply(
    server: OpenAI, provider: OpenAiProvider, usage: object, model: object
) -> None:
    """It was paid for: whoever wrote it down would refuse it, and it would be made again."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Sim"}}
    server.fail(wrong_answer(200, {"model": model, "choices": [choice], "usage": usage}))
    reply = await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (reply.text, reply.model, reply.tokens_in, reply.tokens_out) == (
        "Sim", "not told", 0, 0
    )  # fmt: skip
    MadeReply(
        parts=(reply.text,), handler="fallback", provider=reply.provider, model=reply.model,
        tokens_in=reply.tokens_in, tokens_out=reply.tokens_out,
    )  # fmt: skip


async def test_half_a_token_is_none(server: OpenAI, provider: OpenAiProvider) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Sim"}}
    usage = {"prompt_tokens": 12.5, "completion_tokens": 3.0}
    server.fail(wrong_answer(200, {"model": "llama", "choices": [choice], "usage": usage}))
    reply = await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (reply.tokens_in, reply.tokens_out) == (12, 3)


@pytest.mark.parametrize(
    ("base_url", "model", "name"),
    [
        (None, "gpt-4o", "max_completion_tokens"),
        ("https://api.openai.com/v1", "gpt-4o", "max_completion_tokens"),
        ("http://127.0.0.1:8081/v1", "llama-3", "max_tokens"),
        ("http://127.0.0.1:8081/v1", "gpt-5.4-mini", "max_completion_tokens"),
        ("http://127.0.0.1:8081/v1", "o3-mini", "max_completion_tokens"),
        ("https://api.openai.com.evil.example/v1", "llama-3", "max_tokens"),
    ],
)
def test_the_limit_is_named_as_the_server_knows_it(
    base_url: str | None, model: str, name: str
) -> None:
    assert limit_name(base_url, model) == name


TOOLED = replace(PROMPT, tools=(Tool("hand_over", "Give it to a person.", HAND_OVER.takes),))


async def test_a_tool_is_offered_and_its_call_read(server: OpenAI, provider: OpenAiProvider):
    server.answers(calls_tool("hand_over", saying="Um momento.", reason="upset", say="Já chamo."))
    reply = await provider.complete(TOOLED, model=None, max_tokens=300)
    assert reply.text == "Um momento."
    (call,) = reply.calls
    assert (call.name, dict(call.given)) == ("hand_over", {"reason": "upset", "say": "Já chamo."})


@pytest.mark.parametrize(
    ("status", "message", "is_offered_again"),
    [
        (400, "registry.example/gemma does not support tools", False),
        (404, "No endpoints found that support tool use.", False),
        (400, "Failed to call a function. Please adjust your prompt.", True),
    ],
)
async def test_a_model_without_tools_is_asked_without(
    server: OpenAI, provider: OpenAiProvider, status: int, message: str, is_offered_again: bool
):
    server.fail(wrong_answer(status, error(message)))
    server.answers("Temos!", "Temos!")
    for _ in range(2):
        reply = await provider.complete(TOOLED, model="gemma", max_tokens=300)
        assert (reply.text, reply.calls) == ("Temos!", ())
    offered = ["tools" in request.body for request in server.requests]
    assert offered == [True, False, is_offered_again]


async def test_a_call_that_was_cut_off_is_one(server: OpenAI, provider: OpenAiProvider):
    told = {"name": "hand_over", "arguments": '{"reason": "ups'}
    call = {"id": "call_1", "type": "function", "function": told}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "length", "message": message}
    server.fail(wrong_answer(200, {"id": "1", "model": "m", "choices": [choice]}))
    reply = await provider.complete(TOOLED, model=None, max_tokens=300)
    assert [(each.name, dict(each.given)) for each in reply.calls] == [("hand_over", {})]
