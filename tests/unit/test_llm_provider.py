"""Asking a provider, asking again, and asking the second, over the real SDKs and protocols."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.faults import Fault, wrong_answer
from loopback.openai import OpenAI
from loopback.replies import empty, refusal
from router.configuration.variables import LONGEST_RETRY_AFTER
from router.llm.anthropic import AnthropicProvider
from router.llm.asking import complete_with_fallback
from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmMisconfigured,
    LlmRefused,
    hide,
    judge_status,
    read_retry_after,
)
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmProvider, LlmReply, Prompt, PromptMessage

PROMPT = Prompt("Você atende a Loja.", (PromptMessage("user", "Tem pão?"),))
FIRST_KEY, SECOND_KEY = "sk-ant-made-up-0001", "sk-made-up-0002"
ATTEMPTS = 2  # waits stay under half a second


@pytest.fixture
def claude() -> Iterator[Anthropic]:
    with Anthropic(key=FIRST_KEY) as server:
        yield server


@pytest.fixture
def gpt() -> Iterator[OpenAI]:
    with OpenAI(key=SECOND_KEY) as server:
        yield server


@pytest.fixture
async def pair(claude: Anthropic, gpt: OpenAI) -> AsyncIterator[tuple[LlmProvider, LlmProvider]]:
    async with AsyncExitStack() as stack:
        first = AnthropicProvider(
            SecretStr(FIRST_KEY), base_url=claude.base_url, model="claude-made-up", timeout=20
        )
        second = OpenAiProvider(
            SecretStr(SECOND_KEY), base_url=gpt.base_url, model="gpt-4o-made-up", timeout=20
        )
        for provider in (first, second):
            stack.push_async_callback(provider.close)
        yield first, second


async def ask(
    first: LlmProvider, second: LlmProvider | None = None, *, model: str | None = None
) -> LlmReply:
    return await complete_with_fallback(
        first, second, PROMPT, model=model, max_tokens=100, attempts=ATTEMPTS
    )


Pair = tuple[LlmProvider, LlmProvider]


@pytest.mark.parametrize("fault", ["broken", "overloaded", "cuts_connection", "rate_limited"])
async def test_what_may_pass_is_asked_again(claude: Anthropic, pair: Pair, fault: str) -> None:
    claude.fail(getattr(claude, fault)())
    claude.answers("Sim")
    assert (await ask(pair[0])).text == "Sim"
    assert len(claude.requests) == 2


async def test_an_empty_answer_is_asked_again(claude: Anthropic, pair: Pair) -> None:
    claude.answers(empty(), "Sim")
    assert (await ask(pair[0])).text == "Sim"


async def test_an_answer_that_stays_empty_is_an_error(claude: Anthropic, pair: Pair) -> None:
    claude.answers(empty(), " \n ")
    with pytest.raises(LlmEmpty):
        await ask(pair[0])
    assert len(claude.requests) == ATTEMPTS


async def test_a_short_retry_after_is_waited_for(claude: Anthropic, pair: Pair) -> None:
    claude.fail(claude.rate_limited(0.05))
    assert (await ask(pair[0])).text
    assert len(claude.requests) == 2


async def test_a_long_retry_after_ends_the_attempt_and_is_told(
    claude: Anthropic, pair: Pair
) -> None:
    claude.fail(claude.rate_limited(LONGEST_RETRY_AFTER + 50))
    with pytest.raises(LlmAway) as raised:
        await ask(pair[0])
    assert raised.value.retry_after == LONGEST_RETRY_AFTER + 50
    assert len(claude.requests) == 1


async def test_what_stays_away_is_given_up(claude: Anthropic, pair: Pair) -> None:
    claude.fail(claude.overloaded(), times=None)
    with pytest.raises(LlmAway, match="529"):
        await ask(pair[0])
    assert len(claude.requests) == ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "error"), [("bad_key", LlmAccountRefused), ("no_such_model", LlmMisconfigured)]
)
async def test_what_is_misconfigured_is_asked_once(
    claude: Anthropic, pair: Pair, fault: str, error: type[Exception]
) -> None:
    claude.fail(getattr(claude, fault)())
    with pytest.raises(error):
        await ask(pair[0])
    assert len(claude.requests) == 1


FIRST_FAULTS = [
    wrong_answer(401, None),
    wrong_answer(529, None),
    wrong_answer(429, None, {"retry-after": "60"}),
]


@pytest.mark.parametrize("fault", FIRST_FAULTS, ids=["misconfigured", "overloaded", "limited"])
async def test_the_second_is_asked_when_the_first_cannot(
    claude: Anthropic, gpt: OpenAI, pair: Pair, fault: Fault
) -> None:
    claude.fail(fault, times=None)
    gpt.answers("Sim")
    reply = await ask(*pair, model="claude-other")
    assert (reply.text, reply.provider, reply.model) == ("Sim", "openai", "gpt-4o-made-up")
    assert claude.requests[0].model == "claude-other"


async def test_the_second_is_asked_when_the_first_says_nothing(
    claude: Anthropic, pair: Pair
) -> None:
    claude.answers(empty(), empty())
    assert (await ask(*pair)).provider == "openai"


async def test_the_second_is_not_asked_when_the_first_answers(gpt: OpenAI, pair: Pair) -> None:
    assert (await ask(*pair)).provider == "anthropic"
    assert gpt.requests == []


async def test_a_refusal_is_not_carried_to_the_second(
    claude: Anthropic, gpt: OpenAI, pair: Pair
) -> None:
    claude.answers(refusal())
    with pytest.raises(LlmRefused):
        await ask(*pair)
    assert len(claude.requests) == 1
    assert gpt.requests == []


async def test_where_both_are_away_the_seconds_error_is_told(
    claude: Anthropic, gpt: OpenAI, pair: Pair
) -> None:
    claude.fail(claude.overloaded(), times=None)
    gpt.fail(gpt.broken(), times=None)
    with pytest.raises(LlmAway, match="openai answered 500"):
        await ask(*pair)


async def test_a_misconfigured_second_does_not_make_the_firsts_passing_trouble_final(
    claude: Anthropic, gpt: OpenAI, pair: Pair
) -> None:
    claude.fail(claude.rate_limited(60))
    gpt.fail(gpt.bad_key())
    with pytest.raises(LlmAway) as raised:
        await ask(*pair)
    assert raised.value.retry_after == 60


async def test_where_both_are_misconfigured_it_is_final(
    claude: Anthropic, gpt: OpenAI, pair: Pair
) -> None:
    claude.fail(claude.no_such_model())
    gpt.fail(gpt.no_such_model())
    with pytest.raises(LlmMisconfigured) as raised:
        await ask(*pair)
    assert not any(key in str(raised.value) for key in (FIRST_KEY, SECOND_KEY))


@pytest.mark.parametrize(
    ("status", "error"),
    [(code, LlmAway) for code in (408, 409, 429, 500, 502, 503, 504, 529)]
    + [(code, LlmAccountRefused) for code in (401, 402, 403)]
    + [(code, LlmMisconfigured) for code in (302, 400, 404, 413, 422)],
)
def test_a_status_says_whether_it_may_pass(status: int, error: type[Exception]) -> None:
    judged = judge_status("x", status, "why", "3")
    assert type(judged) is error
    assert str(judged) == f"x answered {status}: why"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 23 Nov 2026 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_nothing(
    header: str | None, seconds: float | None
) -> None:
    assert read_retry_after(header) == seconds


def test_what_a_provider_said_is_told_short_and_without_the_key() -> None:
    assert hide(SecretStr(FIRST_KEY), f"bad key {FIRST_KEY}!") == "bad key …!"
    assert len(hide(SecretStr(FIRST_KEY), "a" * 999)) == 300
