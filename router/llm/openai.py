"""OpenAI's Chat Completions through the official SDK, which is loaded in a thread.

Chat Completions, not Responses: every OpenAI-compatible server speaks it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from router.llm.provider import (
    LlmAway,
    LlmRefused,
    LlmReply,
    Prompt,
    model_told,
    tokens_told,
)
from router.llm.sdk import SdkProvider

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


_REASONING = re.compile(r"(o\d|gpt-[5-9]|gpt-\d\d)")


class OpenAiProvider(SdkProvider["AsyncOpenAI"]):
    """Asks OpenAI, or a compatible server at `base_url`.

    A refusal or a content filter raises LlmRefused.
    """

    name = "openai"
    answer_is = "completion"

    def _connect(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
        )

    async def _ask(
        self, client: AsyncOpenAI, prompt: Prompt, model: str, max_tokens: int
    ) -> ChatCompletion:
        turns: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        return await client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": prompt.system}, *turns],
            extra_body={limit_name(self._base_url, model): max_tokens},
        )

    def _read(self, answer: ChatCompletion) -> LlmReply:
        if not answer.choices:
            raise LlmAway("openai answered without a choice")
        choice = answer.choices[0]
        if choice.message.refusal:
            raise LlmRefused("the model declined to answer")
        if choice.finish_reason == "content_filter":
            raise LlmRefused("stopped by the content filter")
        usage = answer.usage
        return LlmReply(
            text="".join([choice.message.content or ""]),  # a text, or TypeError
            provider=self.name,
            model=model_told(answer.model),
            tokens_in=tokens_told(getattr(usage, "prompt_tokens", None)),
            tokens_out=tokens_told(getattr(usage, "completion_tokens", None)),
            truncated=choice.finish_reason == "length",
        )

    def _reason(self, body: object) -> str:
        return _reason(body)

    def _ask_nobody(self) -> None:
        _ask_nobody()


def limit_name(base_url: str | None, model: str) -> str:
    """Return how the server at this URL calls the limit of tokens; None is OpenAI itself.

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
