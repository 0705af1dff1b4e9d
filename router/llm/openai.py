"""OpenAI's Chat Completions through the official SDK, which is loaded when it is first asked.

Chat Completions, not Responses: every OpenAI-compatible server speaks it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

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
        self, api_key: SecretStr | None, *, base_url: str | None, model: str, timeout: float
    ) -> None:
        self._api_key = api_key or SecretStr("")
        self._base_url = base_url
        self._model = model
        self._timeout = timeout
        self._client: AsyncOpenAI | None = None

    @property
    def has_key(self) -> bool:
        """See LlmProvider."""
        return bool(self._api_key.get_secret_value())

    def with_key(self, key: SecretStr) -> OpenAiProvider:
        """See LlmProvider."""
        other = OpenAiProvider(
            key, base_url=self._base_url, model=self._model, timeout=self._timeout
        )
        other._client = self._connected().with_options(api_key=key.get_secret_value())
        return other

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """See LlmProvider. A refusal or a content filter raises LlmRefused."""
        import openai

        turns: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        try:
            completion = await self._connected().chat.completions.create(
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
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                api_key=self._api_key.get_secret_value(),
                base_url=self._base_url,
                timeout=self._timeout,
                max_retries=0,
            )
        return self._client


def limit_name(base_url: str | None, model: str) -> str:
    """Return how the server at this address calls the limit of tokens; None is OpenAI itself.

    OpenAI's reasoning models refuse the old name, also behind a proxy; many other servers know no
    other.
    """
    is_openai = base_url is None or urlsplit(base_url).hostname == "api.openai.com"
    return "max_completion_tokens" if is_openai or _REASONING.match(model) else "max_tokens"


def _reason(body: object) -> str:
    match body:  # the SDK gives what stands in the answer's `error`
        case {"message": str() as message}:
            return message
        case _:
            return "no reason given"
