"""A provider that says half a sentence, nothing, or knows the limit by its other name; end to end.

Cases of other routers before many models: OpenHands/OpenHands#11662, maximhq/bifrost#5425,
BerriAI/litellm#37710.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.faults import wrong_answer
from loopback.openai import OpenAI
from loopback.replies import Reply
from tests.n8n_server import TestN8n
from tests.scenarios.stage import BOTH_HANDLERS, Stage, performance

pytestmark = BOTH_HANDLERS


@pytest.fixture
def openai() -> Iterator[OpenAI]:
    with OpenAI() as openai:
        yield openai


@pytest.fixture
async def stage(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    openai: OpenAI,
    handler: TestN8n | None,
) -> AsyncIterator[Stage]:
    settings = {"OPENAI_API_KEY": "sk-for-the-loopback", "LLM_PROVIDER": "openai"}
    settings |= {"OPENAI_BASE_URL": openai.base_url}
    if handler:
        handler.openai.leads_to(openai.url)
        settings |= handler.configuration()
    async with performance(database_url, evolution, llm, **settings) as stage:
        await stage.change(llm_provider="openai", llm_model="vendor/model")
        yield stage
        if handler:
            openai.heal()
            await handler.falls_silent()
            handler.openai.leads_to(None)


async def test_a_limit_that_is_used_up_before_a_word_is_raised_once_and_then_named(
    stage: Stage, openai: OpenAI
):
    openai.answers_always(Reply("", stop="length"))
    await stage.maria.writes("Quanto custa?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "dead"
    assert "LLM_MAX_TOKENS" in turn["error"]
    assert [asked.max_tokens for asked in openai.requests] == [8000, 32000]
    assert stage.maria.replies == []


async def test_half_an_answer_reaches_nobody_and_is_asked_for_again(stage: Stage, openai: OpenAI):
    choice = {
        "index": 0,
        "finish_reason": "error",
        "message": {"role": "assistant", "content": "O bolo custa R"},
        "error": {"code": 502, "message": "Provider returned error"},
    }
    half = {"id": "g", "object": "chat.completion", "created": 1, "model": "m"}
    openai.fail(wrong_answer(200, half | {"choices": [choice]}))
    openai.answers("O bolo custa R$ 32.")
    await stage.maria.writes("Quanto custa?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert stage.maria.replies == ["O bolo custa R$ 32."]
    assert len(openai.requests) == 2


async def test_the_other_name_of_the_limit_is_learnt_from_the_refusal(stage: Stage, openai: OpenAI):
    refusal = {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            "type": "invalid_request_error",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    }
    openai.fail(wrong_answer(400, refusal))
    for number in (1, 2):
        await stage.maria.writes("oi")
        turns = await stage.turns_end()
        assert [turn["state"] for turn in turns] == ["sent"] * number
    names = [{"max_tokens", "max_completion_tokens"} & set(asked.body) for asked in openai.requests]
    assert names[-2:] == [{"max_completion_tokens"}] * 2
    assert len(stage.maria.replies) == 2
