"""The loopback Anthropic, asked through the official SDK."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from loopback.anthropic import Anthropic
from loopback.replies import empty, refusal, truncated
from tests.clients import patient

MODEL = "claude-haiku-5-5"
OI: Any = [{"role": "user", "content": "oi"}]


@pytest.fixture
def llm() -> Iterator[Anthropic]:
    with Anthropic() as llm:
        yield llm


@pytest.fixture
async def client(llm: Anthropic) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key="sk-ant-made-up", base_url=llm.base_url, max_retries=0, timeout=20
    ) as client:
        yield client


async def ask(client: anthropic.AsyncAnthropic, messages: Any = OI, **options: Any) -> Any:
    create: Any = client.messages.create
    return await create(**{"model": MODEL, "max_tokens": 256, "messages": messages} | options)


async def test_the_default_answer_shows_which_messages_it_answers(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    messages = [
        {"role": "user", "content": "bom dia"},
        {"role": "assistant", "content": "Bom dia!"},
        {"role": "user", "content": "tem bolo?"},
        {"role": "user", "content": [{"type": "text", "text": "de milho\ne de fubá"}]},
    ]
    answer = await ask(client, messages, system="Você é a padaria.")
    text = "Olá! Sobre «tem bolo? / de milho / e de fubá»: já vou ajudar você."
    assert [block.text for block in answer.content] == [text]
    assert (answer.stop_reason, answer.model, answer.role) == ("end_turn", MODEL, "assistant")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    [asked] = llm.requests
    assert (asked.system, asked.max_tokens, asked.status) == ("Você é a padaria.", 256, 200)
    assert asked.messages[1] == ("assistant", "Bom dia!")
    assert asked.unanswered == ["tem bolo?", "de milho\ne de fubá"]


async def test_answers_follow_the_script_and_then_the_default(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.answers("um", "dois")
    texts = [(await ask(client)).content[0].text for _ in range(3)]
    assert texts == ["um", "dois", "Olá! Sobre «oi»: já vou ajudar você."]


async def test_answers_can_be_made_from_the_request(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.answers_always(lambda asked: f"{asked.model}: {len(asked.messages)}")
    assert (await ask(client)).content[0].text == f"{MODEL}: 1"
    llm.answers_always("sempre")
    assert (await ask(client)).content[0].text == "sempre"


async def test_refused_empty_and_truncated_answers(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.answers(refusal(), empty(), truncated("O preço é"))
    refused, nothing, cut = [await ask(client) for _ in range(3)]
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    assert refused.stop_details.type == "refusal"
    assert (nothing.stop_reason, nothing.content) == ("end_turn", [])
    assert (cut.stop_reason, cut.content[0].text) == ("max_tokens", "O preço é")


async def test_an_answer_ends_at_max_tokens(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.answers("x" * 100)
    answer = await ask(client, max_tokens=10)
    assert (answer.stop_reason, len(answer.content[0].text)) == ("max_tokens", 40)
    assert answer.usage.output_tokens == 10


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    messages: Any = OI
    assert (await client.messages.count_tokens(model=MODEL, messages=messages)).input_tokens > 0


FAULTS = [
    (Anthropic.broken, anthropic.InternalServerError, "api_error"),
    (Anthropic.overloaded, anthropic.OverloadedError, "overloaded_error"),
    (Anthropic.bad_key, anthropic.AuthenticationError, "authentication_error"),
    (Anthropic.no_such_model, anthropic.NotFoundError, "not_found_error"),
    (Anthropic.rate_limited, anthropic.RateLimitError, "rate_limit_error"),
]


@pytest.mark.parametrize(("make", "error", "kind"), FAULTS)
async def test_faults_are_what_the_sdk_knows_them_as(
    llm: Anthropic, client: anthropic.AsyncAnthropic, make: Any, error: type[Any], kind: str
) -> None:
    llm.fail(make(llm))
    with pytest.raises(error) as raised:
        await ask(client)
    assert raised.value.type == kind
    assert (await ask(client)).stop_reason == "end_turn"


async def test_a_rate_limit_says_when_to_come_back(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.fail(llm.rate_limited(retry_after=2.5))
    with pytest.raises(anthropic.RateLimitError) as raised:
        await ask(client)
    assert raised.value.response.headers["retry-after"] == "2.5"


async def test_an_answer_that_never_comes_ends_at_the_clients_time_out(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.fail(llm.never_answers())
    with pytest.raises(anthropic.APITimeoutError):
        await ask(client, timeout=httpx2.Timeout(10, read=0.3))
    [asked] = await llm.asked()
    assert asked.status is None


async def test_a_connection_is_cut(llm: Anthropic, client: anthropic.AsyncAnthropic) -> None:
    llm.fail(llm.cuts_connection())
    with pytest.raises(anthropic.APIConnectionError) as raised:
        await ask(client)
    assert not isinstance(raised.value, anthropic.APITimeoutError)
    assert len(llm.requests) == 1


async def test_a_late_answer_is_the_right_one(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.fail(llm.is_late(0.01))
    assert await ask(client)


async def test_the_sdks_own_retries_meet_the_fault_as_often_as_said(llm: Anthropic) -> None:
    llm.fail(llm.rate_limited(retry_after=0.01), times=2)
    async with anthropic.AsyncAnthropic(
        api_key="sk-ant-made-up", base_url=llm.base_url, max_retries=2
    ) as client:
        assert (await ask(client)).stop_reason == "end_turn"
    assert [asked.status for asked in llm.requests] == [429, 429, 200]


async def test_a_request_is_held_until_the_gate_is_opened(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    gate = llm.hold()
    asking = asyncio.create_task(ask(client))
    await gate.reached()
    assert len(await llm.asked()) == 1
    llm.answers("depois")
    gate.open()
    assert (await asking).content[0].text == "depois"


async def test_only_the_right_key_is_taken(llm: Anthropic) -> None:
    llm.key = "sk-ant-right"
    for key, status in (("sk-ant-right", 200), ("sk-ant-wrong", 401)):
        async with anthropic.AsyncAnthropic(
            api_key=key, base_url=llm.base_url, max_retries=0
        ) as client:
            answer = client.messages.with_raw_response.create(
                model=MODEL, max_tokens=16, messages=OI
            )
            if status == 200:
                assert (await answer).http_response.status_code == 200
            else:
                with pytest.raises(anthropic.AuthenticationError):
                    await answer


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "at least one message is required"),
        ([{"role": "assistant", "content": "oi"}, *OI], 'first message must use the "user" role'),
        ([*OI, {"role": "assistant", "content": "Ol"}], "does not support assistant message"),
        ([{"role": "user", "content": ""}], "must have non-empty content"),
        ([{"role": "user", "content": " \n"}], "must contain non-whitespace text"),
        ([{"role": "robot", "content": "oi"}], "messages.0.role"),
    ],
)
async def test_what_anthropic_would_not_take_gets_400(
    llm: Anthropic, client: anthropic.AsyncAnthropic, messages: Any, why: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=why) as raised:
        await ask(client, messages)
    assert raised.value.type == "invalid_request_error"
    assert llm.requests == []


async def test_requests_without_key_version_or_limit_are_refused(llm: Anthropic) -> None:
    url = f"{llm.url}/v1/messages"
    body = {"model": MODEL, "max_tokens": 16, "messages": OI}
    whole = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    async with patient() as http:
        for leaves_out, status in (("authorization", 401), ("anthropic-version", 400), ("", 200)):
            headers = {name: value for name, value in whole.items() if name != leaves_out}
            answer = await http.post(url, json=body, headers=headers)
            assert answer.status_code == status
        unlimited = {"model": MODEL, "messages": OI}
        answer = await http.post(url, json=unlimited, headers=whole)
        assert answer.json()["error"]["message"] == "max_tokens: Field required"
        for raw in (b"{", b"[]"):
            assert (await http.post(url, content=raw, headers=whole)).status_code == 400


async def test_a_model_that_is_missing_is_404(
    llm: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    llm.missing_models.add(MODEL)
    with pytest.raises(anthropic.NotFoundError, match=MODEL):
        await ask(client)
