"""Anthropic's Messages API through the official SDK, which is loaded in a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

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
    from anthropic import AsyncAnthropic
    from anthropic.types import Message


class AnthropicProvider:
    """Asks Claude. `timeout` in seconds; retries are the caller's, so that there is one place."""

    name = "anthropic"

    def __init__(
        self,
        api_key: SecretStr | None,
        *,
        base_url: str | None,
        model: str,
        timeout: float,
        shared: InThread[AsyncAnthropic] | None = None,
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

    def with_key(self, key: SecretStr) -> AnthropicProvider:
        """See LlmProvider."""
        return AnthropicProvider(
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
        """See LlmProvider. A stop_reason of `refusal` raises LlmRefused."""
        client = await self._connected()
        import anthropic  # the thread has loaded it

        messages: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        try:
            message = await client.messages.create(
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
        if (client := self._loading.made) is not None:
            await client.close()

    async def _connected(self) -> AsyncAnthropic:
        client = await self._loading.get()
        if not self._shares:
            return client
        return client.with_options(api_key=self._api_key.get_secret_value())

    def _connect(self) -> AsyncAnthropic:
        """Load the SDK; takes seconds, in which nothing else may have to wait."""
        from anthropic import AsyncAnthropic

        rehearse(_ask_nobody, self.name)
        return AsyncAnthropic(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
        )


def _ask_nobody() -> None:
    """Ask once over a transport that answers by itself."""
    import httpx2  # the SDK's own
    from anthropic import AsyncAnthropic

    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "rehearsal",
        "content": [{"type": "text", "text": "."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))

    async def ask() -> None:
        async with AsyncAnthropic(
            api_key="none", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
        ) as client:
            await client.messages.create(
                model="rehearsal",
                max_tokens=1,
                system=".",
                messages=[{"role": "user", "content": "."}],
            )

    asyncio.run(ask())


def _reason(body: object) -> str:
    match body:
        case {"error": {"message": str() as message}}:
            return message
        case _:
            return "no reason given"
