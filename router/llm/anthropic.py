"""Anthropic's Messages API through the official SDK, which is loaded in a thread."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from router.llm.endings import ending_of
from router.llm.errors import LlmAway, LlmRefused
from router.llm.provider import LlmReply, Prompt, model_told, tokens_told
from router.llm.sdk import SdkProvider, read_answer, written
from router.llm.tools import read_call

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

_PATH = "/v1/messages"


class AnthropicProvider(SdkProvider["AsyncAnthropic"]):
    """Asks Claude. The stop_reason `refusal` raises LlmRefused."""

    name = "anthropic"
    answer_is = "message"

    def _connect(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        from router.llm.http import open_http

        return AsyncAnthropic(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
            http_client=open_http(self._timeout),
        )

    async def _ask(
        self, client: AsyncAnthropic, prompt: Prompt, model: str, max_tokens: int
    ) -> Any:
        import httpx2  # the SDK's own

        messages: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
        if prompt.pictures:
            messages[-1]["content"] = _with_pictures(prompt)
        question = {
            "model": model,
            "max_tokens": max_tokens,
            "system": prompt.system,
            "messages": messages,
        }
        if prompt.tools:
            question["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": dict(t.takes)}
                for t in prompt.tools
            ]
        answer = await client.post(
            _PATH,
            cast_to=httpx2.Response,
            content=written(question),
            options={"headers": self._as_whom(client)},
        )
        return await read_answer(answer)

    def _list(self, client: AsyncAnthropic) -> AbstractAsyncContextManager[Any]:
        asked = client.models.with_streaming_response
        return asked.list(limit=1, extra_headers=self._as_whom(client))

    def _read(self, answer: Any) -> LlmReply:
        ending = ending_of(answer.get("stop_reason"))
        if ending == "refused":
            raise LlmRefused("the model declined to answer")
        if ending == "broken":
            raise LlmAway("anthropic broke off its answer with an error")
        blocks, usage = answer["content"], answer["usage"]
        return LlmReply(
            text="".join(block["text"] for block in blocks if block.get("type") == "text"),
            provider=self.name,
            model=model_told(answer.get("model")),
            tokens_in=tokens_told(usage.get("input_tokens")),
            tokens_out=tokens_told(usage.get("output_tokens")),
            truncated=ending == "cut_off",
            calls=tuple(
                read_call(block.get("name"), block.get("input"))
                for block in blocks
                if block.get("type") == "tool_use"
            ),
        )

    def _reason(self, body: object) -> str:
        return _reason(body)

    def _ask_nobody(self) -> None:
        _ask_nobody()


def _with_pictures(prompt: Prompt) -> list[Any]:
    blocks: list[Any] = []
    for picture in prompt.pictures:
        source = {"type": "base64", "media_type": "image/jpeg", "data": picture.jpeg}
        blocks += [{"type": "text", "text": picture.label}, {"type": "image", "source": source}]
    return [*blocks, {"type": "text", "text": prompt.messages[-1].text}]


def _ask_nobody() -> None:
    """Make a call over a transport that answers by itself, without a network."""
    import httpx2  # the SDK's own
    from anthropic import AsyncAnthropic

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={}))

    async def ask() -> None:
        async with AsyncAnthropic(
            api_key="none", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
        ) as client:
            await client.post(_PATH, cast_to=httpx2.Response, content=b"{}")
            async with client.models.with_streaming_response.list(limit=1):
                pass

    asyncio.run(ask())


def _reason(body: object) -> str:
    match body:
        case {"error": {"message": str() as message}}:
            return message
        case _:
            return "no reason given"
