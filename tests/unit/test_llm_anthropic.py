"""Anthropic's official SDK against a loopback server that speaks its protocol."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.faults import Fault, wrong_answer
from loopback.replies import Reply, calls_tool, empty, refusal, truncated
from router.llm.anthropic import AnthropicProvider
from router.llm.errors import LlmAccountRefused, LlmAway, LlmError, LlmMisconfigured, LlmRefused
from router.llm.provider import Prompt, PromptMessage, Tool
from router.replies.hand_over import HAND_OVER

KEY = "sk-ant-made-up-key-000000000001"
PROMPT = Prompt(
    "Você atende a Loja.",
    (
        PromptMessage("user", "Oi"),
        PromptMessage("assistant", "Olá!"),
        PromptMessage("user", "Tem pão?"),
    ),
)


@pytest.fixture
def server() -> Iterator[Anthropic]:
    with Anthropic(key=KEY) as server:
        yield server


@pytest.fixture
async def provider(server: Anthropic) -> AsyncIterator[AnthropicProvider]:
    provider = made(server)
    yield provider
    await provider.close()


def made(server: Anthropic, key: str = KEY, timeout: float = 20) -> AnthropicProvider:
    return AnthropicProvider(
        SecretStr(key), base_url=server.base_url, model="claude-made-up", timeout=timeout
    )


def error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


async def test_a_reply_comes_with_its_model_and_tokens(
    server: Anthropic, provider: AnthropicProvider
) -> None:
    server.answers("Temos sim! 🥖")
    reply = await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (reply.text, reply.provider, reply.model) == (
        "Temos sim! 🥖",
        "anthropic",
        "claude-made-up",
    )
    assert reply.tokens_in > 0
    assert reply.tokens_out > 0
    assert not reply.truncated
    (asked,) = server.requests
    assert (asked.system, asked.max_tokens) == ("Você atende a Loja.", 300)
    assert asked.messages == (("user", "Oi"), ("assistant", "Olá!"), ("user", "Tem pão?"))


async def test_the_tenants_model_goes_before_the_default(
    server: Anthropic, provider: AnthropicProvider
) -> None:
    assert (await provider.complete(PROMPT, model="claude-other", max_tokens=9)).model == (
        "claude-other"
    )


async def test_a_refusal_is_told_as_one(server: Anthropic, provider: AnthropicProvider) -> None:
    server.answers(refusal())
    with pytest.raises(LlmRefused):
        await provider.complete(PROMPT, model=None, max_tokens=300)


async def test_an_answer_at_the_limit_is_marked_as_truncated(
    server: Anthropic, provider: AnthropicProvider
) -> None:
    server.answers(truncated("Temos pão, e"), Reply("a" * 400))
    for limit in (300, 10):
        assert (await provider.complete(PROMPT, model=None, max_tokens=limit)).truncated


async def test_an_empty_answer_is_returned_as_it_is(
    server: Anthropic, provider: AnthropicProvider
) -> None:
    server.answers(empty())
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text == ""


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (wrong_answer(429, error("rate_limit_error", "slow down")), LlmAway),
        (wrong_answer(500, error("api_error", "Internal server error")), LlmAway),
        (wrong_answer(502, "<html>Bad Gateway</html>"), LlmAway),
        (wrong_answer(529, error("overloaded_error", "Overloaded")), LlmAway),
        (wrong_answer(400, error("invalid_request_error", "bad")), LlmMisconfigured),
        (wrong_answer(401, error("authentication_error", "invalid x-api-key")), LlmAccountRefused),
        (wrong_answer(403, error("permission_error", "no")), LlmAccountRefused),
        (wrong_answer(404, error("not_found_error", "model: x")), LlmMisconfigured),
        (wrong_answer(413, error("request_too_large", "too large")), LlmMisconfigured),
        (wrong_answer(401, error("authentication_error", f"key {KEY}")), LlmAccountRefused),
        (wrong_answer(200, None), LlmAway),
        (wrong_answer(200, "a page"), LlmAway),
        (wrong_answer(200, []), LlmAway),
        (wrong_answer(200, {"id": "msg_1", "content": None}), LlmAway),
        (wrong_answer(200, {"content": [{"type": "text", "text": None}]}), LlmAway),
    ],
)
async def test_every_error_says_whether_it_may_pass_and_never_the_key(
    server: Anthropic, provider: AnthropicProvider, fault: Fault, expected: type[LlmError]
) -> None:
    server.fail(fault)
    with pytest.raises(LlmError) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert type(raised.value) is expected
    assert "anthropic" in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(server.requests) == 1  # retries are the caller's


async def test_a_429_says_how_long_to_wait(server: Anthropic, provider: AnthropicProvider) -> None:
    server.fail(server.rate_limited(42))
    with pytest.raises(LlmAway) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert raised.value.retry_after == 42


async def test_a_cut_connection_may_pass(server: Anthropic, provider: AnthropicProvider) -> None:
    server.fail(server.cuts_connection())
    with pytest.raises(LlmAway, match="APIConnectionError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text


async def test_an_answer_that_does_not_come_ends_with_the_time_out(server: Anthropic) -> None:
    provider = made(server, timeout=0.2)
    server.fail(server.never_answers())
    with pytest.raises(LlmAway, match="APITimeoutError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    await provider.close()


@pytest.mark.parametrize("key", ["sk-wrong", "sk-é"])
async def test_a_wrong_key_is_somebodys_to_change(server: Anthropic, key: str) -> None:
    provider = made(server, key=key)
    with pytest.raises((LlmMisconfigured, LlmAccountRefused)) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert key not in str(raised.value)
    await provider.close()


async def test_a_provider_that_was_never_asked_can_be_closed(server: Anthropic) -> None:
    await made(server).close()


TOOLED = replace(PROMPT, tools=(Tool("hand_over", "Give it to a person.", HAND_OVER.takes),))


async def test_a_tool_is_offered_and_its_call_read(server: Anthropic, provider: AnthropicProvider):
    server.answers(calls_tool("hand_over", saying="Um momento.", reason="upset", say="Já chamo."))
    reply = await provider.complete(TOOLED, model=None, max_tokens=300)
    assert reply.text == "Um momento."
    (call,) = reply.calls
    assert (call.name, dict(call.given)) == ("hand_over", {"reason": "upset", "say": "Já chamo."})
