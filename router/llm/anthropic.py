"""Anthropic's Messages API through the official SDK, which is loaded when it is first asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    from anthropic import AsyncAnthropic
    from anthropic.types import Message


class AnthropicProvider:
    """Asks Claude. `timeout` in seconds; retries are the caller's, so that there is one place."""

    name = "anthropic"

    def __init__(
        self, api_key: SecretStr | None, *, base_url: str | None, model: str, timeout: float
    ) -> None:
        self._api_key = api_key or SecretStr("")
        self._base_url = base_url
        self._model = model
        self._timeout = timeout
        self._client: AsyncAnthropic | None = None

    @property
    def has_key(self) -> bool:
        """See LlmProvider."""
        return bool(self._api_key.get_secret_value())

    def with_key(self, key: SecretStr) -> AnthropicProvider:
        """See LlmProvider."""
        other = AnthropicProvider(
            key, base_url=self._base_url, model=self._model, timeout=self._timeout
        )
        other._client = self._connected().with_options(api_key=key.get_secret_value())
        return other

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """See LlmProvider. A stop_reason of `refusal` raises LlmRefused."""
        import anthropic

        messages: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        try:
            message = await self._connected().messages.create(
                model=model or self._model,
                max_tokens=max_tokens,
                system=prompt.system,
                messages=messages,
            )
        except anthropic.APIStatusError as error:
            raise judge_status(
                self.name,
                error.status_code,
                hide(self._api_key, _reason(error.body)),
                error.response.headers.get("retry-after"),
            ) from error
        except anthropic.APIError as error:  # no answer, or none that can be read
            raise LlmAway(f"anthropic: {type(error).__name__}") from error
        except UnicodeError as error:
            raise LlmMisconfigured("the key of anthropic holds what no HTTP header may") from error
        except ValueError as error:  # the SDK lets broken JSON through as it is
            raise LlmAway("anthropic: its answer is no JSON") from error
        try:
            return self._read(message)
        except (AttributeError, TypeError) as error:  # the SDK does not check what it was answered
            raise LlmAway("anthropic: its answer is no message; is its address right?") from error

    def _read(self, message: Message) -> LlmReply:
        if message.stop_reason == "refusal":
            raise LlmRefused("the model declined to answer")
        return LlmReply(
            text="".join(block.text for block in message.content if block.type == "text"),
            provider=self.name,
            model=message.model,
            tokens_in=message.usage.input_tokens,
            tokens_out=message.usage.output_tokens,
            truncated=message.stop_reason in ("max_tokens", "model_context_window_exceeded"),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AsyncAnthropic:
        if self._client is None:
            from anthropic import AsyncAnthropic

            self._client = AsyncAnthropic(
                api_key=self._api_key.get_secret_value(),
                base_url=self._base_url,
                timeout=self._timeout,
                max_retries=0,
            )
        return self._client


def _reason(body: object) -> str:
    match body:
        case {"error": {"message": str() as message}}:
            return message
        case _:
            return "no reason given"
