"""OpenAI's Chat Completions through the official SDK, which is loaded in a thread.

Chat Completions, not Responses: every OpenAI-compatible server speaks it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.llm.loading import InThread, rehearse
from router.llm.provider import (
    LlmAway,
    LlmMisconfigured,
    LlmRefused,
    LlmReply,
    Prompt,
    hide,
    judge_status,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


_REASONING = re.compile(r"(o\d|gpt-[5-9]|gpt-\d\d)")


class OpenAiProvider:
    """Asks OpenAI, or a compatible server at `base_url`. `timeout` in seconds."""

    name = "openai"

    def __init__(
        self,
        api_key: SecretStr | None,
        *,
        base_url: str | None,
        model: str,
        timeout: float,
        shared: InThread[AsyncOpenAI] | None = None,
    ) -> None:
        """Take the connections of another provider in `shared`, where it differs in the key."""
        self._api_key = api_key or SecretStr("")
        self._base_url = base_url
        self._model = model
        self._timeout = timeout
        self._shares = shared is not None
        self._loading = shared or InThread(self._connect)

    @property
    def has_key(self) -> bool:
        """See LlmProvider."""
        return bool(self._api_key.get_secret_value())

    def with_key(self, key: SecretStr) -> OpenAiProvider:
        """See LlmProvider."""
        return OpenAiProvider(
            key,
            base_url=self._base_url,
            model=self._model,
            timeout=self._timeout,
            shared=self._loading,
        )

    async def load(self) -> None:
        """See LlmProvider."""
        await self._loading.get()

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """See LlmProvider. A refusal or a content filter raises LlmRefused."""
        client = await self._connected()
        import openai  # the thread has loaded it

        turns: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        try:
            completion = await client.chat.completions.create(
                model=model or self._model,
                messages=[{"role": "system", "content": prompt.system}, *turns],
                extra_body={limit_name(self._base_url, model or self._model): max_tokens},
            )
        except openai.APIStatusError as error:
            raise judge_status(
                self.name,
                error.status_code,
                hide(self._api_key, _reason(error.body)),
                error.response.headers.get("retry-after"),
            ) from error
        except openai.APIError as error:  # no answer, or none that can be read
            raise LlmAway(f"openai: {type(error).__name__}") from error
        except UnicodeError as error:
            raise LlmMisconfigured("the key of openai holds what no HTTP header may") from error
        except ValueError as error:  # the SDK lets broken JSON through as it is
            raise LlmAway("openai: its answer is no JSON") from error
        try:
            return self._read(completion)
        except (AttributeError, TypeError) as error:  # the SDK does not check what it was answered
            raise LlmAway("openai: its answer is no completion; is its address right?") from error

    def _read(self, completion: ChatCompletion) -> LlmReply:
        if not completion.choices:
            raise LlmAway("openai answered without a choice")
        choice = completion.choices[0]
        if choice.message.refusal:
            raise LlmRefused("the model declined to answer")
        if choice.finish_reason == "content_filter":
            raise LlmRefused("stopped by the content filter")
        usage = completion.usage
        return LlmReply(
            text="".join([choice.message.content or ""]),  # a text, or TypeError
            provider=self.name,
            model=completion.model,
            tokens_in=usage.prompt_tokens if usage else 0,
            tokens_out=usage.completion_tokens if usage else 0,
            truncated=choice.finish_reason == "length",
        )

    async def close(self) -> None:
        """Close the connections."""
        if (client := self._loading.made) is not None:
            await client.close()

    async def _connected(self) -> AsyncOpenAI:
        client = await self._loading.get()
        if not self._shares:
            return client
        return client.with_options(api_key=self._api_key.get_secret_value())

    def _connect(self) -> AsyncOpenAI:
        """Load the SDK; takes seconds, in which nothing else may have to wait."""
        from openai import AsyncOpenAI

        rehearse(_ask_nobody, self.name)
        return AsyncOpenAI(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
        )


def limit_name(base_url: str | None, model: str) -> str:
    """Return how the server at this address calls the limit of tokens; None is OpenAI itself.

    OpenAI's reasoning models refuse the old name, also behind a proxy; many other servers know no
    other.
    """
    is_openai = base_url is None or urlsplit(base_url).hostname == "api.openai.com"
    return "max_completion_tokens" if is_openai or _REASONING.match(model) else "max_tokens"


def _ask_nobody() -> None:
    """Ask once over a transport that answers by itself."""
    import httpx2  # the SDK's own
    from openai import AsyncOpenAI

    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "."},
    }
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "rehearsal",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))

    async def ask() -> None:
        async with AsyncOpenAI(
            api_key="none", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
        ) as client:
            await client.chat.completions.create(
                model="rehearsal",
                messages=[{"role": "user", "content": "."}],
                extra_body={"max_tokens": 1},
            )

    asyncio.run(ask())


def _reason(body: object) -> str:
    match body:  # the SDK gives what stands in the answer's `error`
        case {"message": str() as message}:
            return message
        case _:
            return "no reason given"
