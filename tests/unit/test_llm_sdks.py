"""What holds of either provider's SDK, against a loopback server that speaks its protocol."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import httpx2
import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.faults import wrong_answer
from loopback.openai import OpenAI
from router.llm.errors import LlmAccountRefused, LlmAway, LlmMisconfigured
from router.llm.provider import LlmProvider
from router.llm.sdk import read_answer
from tests.unit import test_llm_anthropic, test_llm_openai
from tests.unit.test_llm_anthropic import PROMPT

Server: TypeAlias = Anthropic | OpenAI
Make: TypeAlias = Callable[..., LlmProvider]


@pytest.fixture(params=[(Anthropic, test_llm_anthropic), (OpenAI, test_llm_openai)])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Make]]:
    kind, tests = request.param
    with kind(key=tests.KEY) as server:
        yield server, partial(tests.made, server)


@pytest.fixture
def server(both: tuple[Server, Make]) -> Server:
    return both[0]


@pytest.fixture
def made(both: tuple[Server, Make]) -> Make:
    """Makes the provider that asks the server."""
    return both[1]


@pytest.fixture
async def provider(made: Make) -> AsyncIterator[LlmProvider]:
    provider = made()
    yield provider
    await provider.close()


async def test_a_429_says_how_long_to_wait(server: Server, provider: LlmProvider) -> None:
    server.fail(server.rate_limited(42))
    with pytest.raises(LlmAway) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert raised.value.retry_after == 42


async def test_a_cut_connection_may_pass(server: Server, provider: LlmProvider) -> None:
    server.fail(server.cuts_connection())
    with pytest.raises(LlmAway, match="APIConnectionError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text


async def test_an_answer_that_does_not_come_ends_with_the_time_out(
    server: Server, made: Make
) -> None:
    provider = made(timeout=0.2)
    server.fail(server.never_answers())
    with pytest.raises(LlmAway, match="APITimeoutError"):
        await provider.complete(PROMPT, model=None, max_tokens=300)
    await provider.close()


@pytest.mark.parametrize("key", ["sk-wrong", "sk-é"])
async def test_a_wrong_key_is_somebodys_to_change(made: Make, key: str) -> None:
    provider = made(key=key)
    with pytest.raises((LlmMisconfigured, LlmAccountRefused)) as raised:
        await provider.complete(PROMPT, model=None, max_tokens=300)
    assert key not in str(raised.value)
    await provider.close()


async def test_a_provider_that_was_never_asked_can_be_closed(made: Make) -> None:
    await made().close()


async def test_a_tenants_own_key_is_shown_in_place_of_the_deployments(
    server: Server, made: Make
) -> None:
    tests = test_llm_anthropic if isinstance(server, Anthropic) else test_llm_openai
    deployments = made(key="sk-of-the-deployment")
    own = deployments.with_key(SecretStr(tests.KEY))
    assert (await own.complete(PROMPT, model=None, max_tokens=300)).text
    for refused in (deployments, deployments.with_key(SecretStr("sk-wrong"))):
        with pytest.raises(LlmAccountRefused):
            await refused.complete(PROMPT, model=None, max_tokens=300)
    await own.look()
    assert own.known is not None
    assert own.known.standing == "works"
    await deployments.close()


async def test_a_server_that_has_moved_is_followed(server: Server, provider: LlmProvider) -> None:
    path = "messages" if isinstance(server, Anthropic) else "chat/completions"
    # The client asks once more as it is wont to: most servers never answer so.
    server.fail(wrong_answer(307, None, {"Location": f"/v1/{path}?moved"}), times=2)
    assert (await provider.complete(PROMPT, model=None, max_tokens=300)).text
    assert [asked.status for asked in server.requests] == [307, 307, 200]


async def test_what_is_no_text_cannot_be_asked(server: Server, provider: LlmProvider) -> None:
    half = replace(PROMPT, system="\ud83d")
    with pytest.raises(LlmMisconfigured, match="JSON"):
        await provider.complete(half, model=None, max_tokens=300)
    assert not server.requests


async def test_json_is_read_whatever_it_is_called_and_a_page_is_none() -> None:
    def answered(body: bytes, kind: str) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"Content-Type": kind})

    assert await read_answer(answered(b'{"a": "\\ud83d"}', "text/plain")) == {"a": "\ud83d"}
    assert await read_answer(answered(b"<html>", "text/html")) is None
    for broken in (b'{"a"', b"\xff", b"[" * 200 + b"]" * 200):
        with pytest.raises(ValueError, match=r"."):
            await read_answer(answered(broken, "application/json; charset=utf-8"))
