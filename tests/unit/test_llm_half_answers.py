"""Answers of a provider that are less than they look: thoughts, half a text, an error in a 200."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.faults import wrong_answer
from loopback.openai import OpenAI
from loopback.replies import Reply, truncated
from router.llm.anthropic import AnthropicProvider
from router.llm.asking import complete_with_fallback
from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmMisconfigured,
    LlmOutOfRoom,
)
from router.llm.limits import LimitNames, other_name
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmReply, Prompt, PromptMessage

PROMPT = Prompt("Você atende a Loja.", (PromptMessage("user", "Tem pão?"),))
KEY = SecretStr("sk-made-up-0001")


@pytest.fixture
def server() -> Iterator[OpenAI]:
    with OpenAI() as server:
        yield server


@pytest.fixture
def claude() -> Iterator[Anthropic]:
    with Anthropic() as server:
        yield server


@pytest.fixture
async def provider(server: OpenAI) -> AsyncIterator[OpenAiProvider]:
    provider = OpenAiProvider(KEY, base_url=server.base_url, model="prod-chat", timeout=20)
    yield provider
    await provider.close()


async def ask(provider: Any, attempts: int = 2, max_tokens: int = 100) -> LlmReply:
    return await complete_with_fallback(
        provider, None, PROMPT, model=None, max_tokens=max_tokens, attempts=attempts
    )


def completion(content: object, finish: str = "stop", **choice: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    given = {"index": 0, "finish_reason": finish, "message": message, **choice}
    return {"id": "g", "object": "chat.completion", "created": 1, "model": "m", "choices": [given]}


async def test_reasoning_in_the_text_is_left_out(server: OpenAI, provider: OpenAiProvider) -> None:
    server.answers("<think>\nOur margin is 60%.\n</think>\n\nCusta R$ 32.", "hm</think>Sim")
    assert (await ask(provider)).text == "Custa R$ 32."
    assert (await ask(provider)).text == "Sim"


async def test_nothing_but_reasoning_is_an_empty_answer(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers("<think>hm</think>", "Sim")
    assert (await ask(provider)).text == "Sim"
    server.answers("<think>hm</think>", "<think>hm")
    with pytest.raises(LlmEmpty):
        await ask(provider)


@pytest.mark.parametrize("nothing", ["", "  \n", "<think>\nThe customer asks the pri"])
async def test_a_limit_that_is_reached_before_a_word_is_raised_once(
    server: OpenAI, provider: OpenAiProvider, nothing: str
) -> None:
    server.answers(truncated(nothing), "Custa R$ 32.")
    reply = await ask(provider)
    assert [asked.max_tokens for asked in server.requests] == [100, 400]
    assert (reply.text, reply.truncated) == ("Custa R$ 32.", False)
    only = LlmReply("", "openai", "m", 0, 1, truncated=True)
    assert reply.tokens_out > only.tokens_out  # the first answer was paid for as well


async def test_where_more_room_does_not_help_it_is_final_and_says_what_to_change(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers_always(truncated(""))
    with pytest.raises(LlmOutOfRoom, match="LLM_MAX_TOKENS") as raised:
        await ask(provider, attempts=10)
    assert "reason" in str(raised.value)
    assert len(server.requests) == 2
    with pytest.raises(LlmOutOfRoom):
        await ask(provider, attempts=10, max_tokens=32_000)
    assert len(server.requests) == 3


async def test_a_model_that_gives_no_more_room_is_not_called_wrong(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.answers(truncated(""))

    def refuse_more(_: Any) -> Reply:
        server.fail(wrong_answer(400, {"error": {"message": "max_tokens is too large: 400"}}))
        return truncated("")

    server._script.clear()
    server.answers_always(refuse_more)
    with pytest.raises(LlmOutOfRoom, match="LLM_MAX_TOKENS"):
        await ask(provider)
    assert len(server.requests) == 2


class _Slow(OpenAiProvider):
    """Answers without a word, and then as it is told."""

    def __init__(self, second: LlmError) -> None:
        super().__init__(KEY, base_url="http://127.0.0.1:9", model="prod-chat", timeout=1)
        self.asked: list[int] = []
        self._second = second

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        self.asked.append(max_tokens)
        if max_tokens > 100:
            raise self._second
        return LlmReply("", "openai", "m", 1, 100, truncated=True)


async def test_a_model_that_takes_too_long_with_more_room_is_not_called_away() -> None:
    slow = _Slow(LlmAway("openai did not answer in time"))
    with pytest.raises(LlmOutOfRoom, match="LLM_MAX_TOKENS"):
        await ask(slow, attempts=10)
    assert slow.asked == [100, 400]
    await slow.close()


async def test_what_is_certainly_not_billed_is_asked_again() -> None:
    slow = _Slow(LlmAway("openai answered 429", is_free=True))
    with pytest.raises(LlmAway):
        await ask(slow, attempts=1)
    await slow.close()


async def test_it_is_so_with_claude_too(claude: Anthropic) -> None:
    provider = AnthropicProvider(KEY, base_url=claude.base_url, model="claude-x", timeout=20)
    claude.answers(truncated(""), "<thinking>hm</thinking>Sim")
    assert (await ask(provider)).text == "Sim"
    assert [asked.max_tokens for asked in claude.requests] == [100, 400]
    claude.fail(
        wrong_answer(200, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}})
    )
    with pytest.raises(LlmAway, match="529"):
        await ask(provider, attempts=1)
    await provider.close()


@pytest.mark.parametrize(
    "broken",
    [
        completion("O bolo custa R", "error"),
        completion("O bolo custa R", "error", error={"code": 502, "message": "Provider error"}),
        completion("O bolo custa R", error={"code": 400, "message": "Provider error"}),
    ],
)
async def test_half_an_answer_is_asked_for_again(
    server: OpenAI, provider: OpenAiProvider, broken: dict[str, Any]
) -> None:
    server.fail(wrong_answer(200, broken))
    server.answers("O bolo custa R$ 32.")
    assert (await ask(provider)).text == "O bolo custa R$ 32."
    server.fail(wrong_answer(200, broken), times=None)
    with pytest.raises(LlmAway) as raised:
        await ask(provider)
    assert "bolo" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Temos "}, {"type": "text", "text": "pão."}], "Temos pão."),
        ([{"type": "thinking", "thinking": [{"text": "hm"}]}, {"text": "Sim"}], "Sim"),
        ([{"type": "reasoning", "text": "hm"}, {"text": "Sim"}], "Sim"),
        (["Te", "mos"], "Temos"),
    ],
)  # fmt: skip
async def test_a_content_in_chunks_is_put_together(
    server: OpenAI, provider: OpenAiProvider, content: object, text: str
) -> None:
    server.fail(wrong_answer(200, completion(content)))
    assert (await ask(provider)).text == text


@pytest.mark.parametrize(
    "content", [[{}], [{"type": "text"}], [None], {"text": "x"}, 7, [{"type": "text", "text": 7}]]
)
async def test_what_is_no_text_at_all_is_no_answer(
    server: OpenAI, provider: OpenAiProvider, content: object
) -> None:
    server.fail(wrong_answer(200, completion(content)))
    with pytest.raises(LlmAway):
        await ask(provider, attempts=1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "slow down"}, LlmAway),
        ({"code": "502", "message": "x"}, LlmAway),
        ({"code": 401, "message": f"no such key {KEY.get_secret_value()}"}, LlmAccountRefused),
        ({"code": 402, "message": "no credit"}, LlmAccountRefused),
        ({"code": "model_not_found", "message": "x"}, LlmMisconfigured),
        ({"code": None, "type": "authentication_error", "message": "x"}, LlmAccountRefused),
        ({"code": None, "type": "invalid_request_error", "message": "x"}, LlmAway),
        ({"code": "strange", "message": "x"}, LlmAway),
        ({"message": "the upstream model is away"}, LlmAway),
        ("a text", LlmAway),
        ({"code": True}, LlmAway),
    ],
)
async def test_an_error_in_a_200_is_judged_by_its_code(
    server: OpenAI, provider: OpenAiProvider, error: object, kind: type[LlmError]
) -> None:
    server.fail(wrong_answer(200, {"error": error, "user_id": "u"}))
    with pytest.raises(LlmError) as raised:
        await ask(provider, attempts=1)
    assert type(raised.value) is kind
    assert KEY.get_secret_value() not in str(raised.value)


def unsupported(used: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": used}}


REFUSALS = [
    (
        "max_tokens",
        "max_completion_tokens",
        "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    (
        "max_completion_tokens",
        "max_tokens",
        "Unrecognized request argument supplied: max_completion_tokens",
    ),
    ("max_completion_tokens", "max_tokens", "max_completion_tokens: extra fields not permitted"),
]


@pytest.mark.parametrize(("used", "wanted", "message"), REFUSALS)
async def test_the_name_of_the_limit_is_learnt_from_the_refusal(
    server: OpenAI, provider: OpenAiProvider, used: str, wanted: str, message: str
) -> None:
    model = "prod-chat"
    provider._limits.learn(model, used)
    server.fail(wrong_answer(400, unsupported(used, message)))
    for asker in (provider, provider.with_key(SecretStr("sk-own"))):
        await complete_with_fallback(asker, None, PROMPT, model=model, max_tokens=50, attempts=1)
    assert [used in asked.body for asked in server.requests] == [True, False, False]
    assert [asked.body.get(wanted) for asked in server.requests] == [None, 50, 50]


async def test_a_server_that_refuses_both_names_is_asked_twice(
    server: OpenAI, provider: OpenAiProvider
) -> None:
    server.fail(wrong_answer(400, unsupported("max_tokens", REFUSALS[0][2])), times=None)
    with pytest.raises(LlmMisconfigured, match="not supported"):
        await ask(provider)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "error",
    [
        None,
        {"message": "max_tokens is too large: 90000. This model supports at most 4096."},
        {"message": "This model is not supported"},
        {"message": "'max_tokens_to_sample' is not supported"},
        {"message": "unsupported", "param": "temperature"},
    ],
)
def test_another_fault_is_no_reason_to_try_another_name(error: object) -> None:
    assert other_name("max_tokens", error) is None


def test_what_is_learnt_is_bounded() -> None:
    names = LimitNames()
    for number in range(3_000):
        names.learn(f"model-{number}", "max_tokens")
    assert len(names._names) == 1_000
    assert names.learnt("model-2999") == "max_tokens"
