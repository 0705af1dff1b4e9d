"""The loopback OpenAI, asked through the official SDK: Chat Completions and Responses."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from loopback.openai import OpenAI
from loopback.replies import empty, filtered, refusal, truncated

MODEL = "gpt-5.4-mini"
OI: Any = [{"role": "system", "content": "Seja breve."}, {"role": "user", "content": "oi"}]


@pytest.fixture
def llm() -> Iterator[OpenAI]:
    with OpenAI() as llm:
        yield llm


@pytest.fixture
async def client(llm: OpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="sk-made-up", base_url=llm.base_url, max_retries=0, timeout=20
    ) as client:
        yield client


async def chat(client: openai.AsyncOpenAI, messages: Any = OI, **options: Any) -> Any:
    create: Any = client.chat.completions.create
    return await create(
        **{"model": MODEL, "max_completion_tokens": 256, "messages": messages} | options
    )


async def test_the_default_answer_shows_which_messages_it_answers(
    llm: OpenAI, client: openai.AsyncOpenAI
) -> None:
    messages = [*OI, {"role": "assistant", "content": "Olá!"}, {"role": "user", "content": "bolo?"}]
    answer = await chat(client, messages)
    [choice] = answer.choices
    assert choice.message.content == "Olá! Sobre «bolo?»: já vou ajudar você."
    assert (choice.finish_reason, choice.message.refusal) == ("stop", None)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    [asked] = llm.requests
    assert (asked.system, asked.max_tokens) == ("Seja breve.", 256)
    assert [role for role, _ in asked.messages] == ["user", "assistant", "user"]


async def test_refused_filtered_empty_and_truncated_answers(
    llm: OpenAI, client: openai.AsyncOpenAI
) -> None:
    llm.answers(refusal("Não posso."), filtered(), empty(), truncated("O preço é"))
    choices = [(await chat(client)).choices[0] for _ in range(4)]
    refused, taken_away, nothing, cut = choices
    assert (refused.message.content, refused.message.refusal) == (None, "Não posso.")
    assert (taken_away.finish_reason, taken_away.message.content) == ("content_filter", "")
    assert (nothing.finish_reason, nothing.message.content) == ("stop", "")
    assert (cut.finish_reason, cut.message.content) == ("length", "O preço é")


async def test_responses_are_spoken_too(llm: OpenAI, client: openai.AsyncOpenAI) -> None:
    question: Any = [{"role": "user", "content": "oi"}]
    answer = await client.responses.create(
        model=MODEL, instructions="Seja breve.", input=question, max_output_tokens=64
    )
    assert answer.output_text == "Olá! Sobre «oi»: já vou ajudar você."
    assert (answer.status, answer.incomplete_details) == ("completed", None)
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    assert llm.requests[0].system == "Seja breve."

    llm.answers(truncated("O preço é"), refusal("Não posso."))
    cut = await client.responses.create(model=MODEL, input="oi")
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    refused = await client.responses.create(model=MODEL, input="oi")
    message: Any = refused.output[0]
    assert (message.content[0].type, message.content[0].refusal) == ("refusal", "Não posso.")


FAULTS = [
    (OpenAI.broken, openai.InternalServerError, None),
    (OpenAI.overloaded, openai.InternalServerError, None),
    (OpenAI.bad_key, openai.AuthenticationError, "invalid_api_key"),
    (OpenAI.no_such_model, openai.NotFoundError, "model_not_found"),
    (OpenAI.rate_limited, openai.RateLimitError, "rate_limit_exceeded"),
]


@pytest.mark.parametrize(("make", "error", "code"), FAULTS)
async def test_faults_are_what_the_sdk_knows_them_as(
    llm: OpenAI, client: openai.AsyncOpenAI, make: Any, error: type[Any], code: str | None
) -> None:
    llm.fail(make(llm))
    with pytest.raises(error) as raised:
        await chat(client)
    assert raised.value.code == code
    assert (await chat(client)).choices[0].finish_reason == "stop"


async def test_an_answer_that_never_comes_ends_at_the_clients_time_out(
    llm: OpenAI, client: openai.AsyncOpenAI
) -> None:
    llm.fail(llm.never_answers())
    with pytest.raises(openai.APITimeoutError):
        await chat(client, timeout=httpx.Timeout(10, read=0.3))
    [asked] = await llm.asked()
    assert asked.status is None


async def test_a_connection_is_cut(llm: OpenAI, client: openai.AsyncOpenAI) -> None:
    llm.fail(llm.cuts_connection())
    with pytest.raises(openai.APIConnectionError) as raised:
        await chat(client)
    assert not isinstance(raised.value, openai.APITimeoutError)
    assert len(llm.requests) == 1


async def test_a_late_answer_is_the_right_one(llm: OpenAI, client: openai.AsyncOpenAI) -> None:
    llm.fail(llm.is_late(0.01))
    assert await chat(client)


async def test_the_sdks_own_retries_meet_the_fault_as_often_as_said(llm: OpenAI) -> None:
    llm.fail(llm.rate_limited(retry_after=0.01), times=2)
    async with openai.AsyncOpenAI(
        api_key="sk-made-up", base_url=llm.base_url, max_retries=2
    ) as client:
        assert (await chat(client)).choices[0].finish_reason == "stop"
    assert [asked.status for asked in llm.requests] == [429, 429, 200]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"messages": []}, "empty array"),
        ({"messages": [{"role": "robot", "content": "oi"}]}, "Invalid value: 'robot'"),
        ({"messages": [{"role": "user", "content": None}]}, "got null"),
        ({"model": ""}, "you must provide a model"),
        ({"max_tokens": 16}, "Use 'max_completion_tokens' instead"),
    ],
)
async def test_what_openai_would_not_take_gets_400(
    llm: OpenAI, client: openai.AsyncOpenAI, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=why):
        await chat(client, **options)
    assert llm.requests == []


async def test_models_of_old_and_of_other_makers_take_max_tokens(
    client: openai.AsyncOpenAI,
) -> None:
    for model in ("gpt-4o-mini", "llama3"):
        answer = await client.chat.completions.create(
            model=model,
            messages=OI,
            max_tokens=2,
        )
        assert answer.choices[0].finish_reason == "length"


async def test_responses_want_sixteen_tokens_or_more(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=">= 16"):
        await client.responses.create(model=MODEL, input="oi", max_output_tokens=8)


async def test_only_the_right_key_is_taken(llm: OpenAI, client: openai.AsyncOpenAI) -> None:
    llm.key = "sk-right"
    with pytest.raises(openai.AuthenticationError):
        await chat(client)
    assert (await chat(client.copy(api_key="sk-right"))).choices[0].finish_reason == "stop"


async def test_a_model_that_is_missing_is_404(llm: OpenAI, client: openai.AsyncOpenAI) -> None:
    llm.missing_models.add(MODEL)
    with pytest.raises(openai.NotFoundError, match=MODEL):
        await chat(client)
