"""OpenAI's Chat Completions through the official SDK, which is loaded in a thread.

Chat Completions, not Responses: every OpenAI-compatible server speaks it.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from router.llm.endings import ending_of
from router.llm.errors import LlmAway, LlmRefused
from router.llm.limits import LimitNames, limit_name, other_name
from router.llm.provider import LlmReply, Prompt, ToolCall, model_told, tokens_told
from router.llm.sdk import SdkProvider
from router.llm.tools import read_call

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


class OpenAiProvider(SdkProvider["AsyncOpenAI"]):
    """Asks OpenAI, or a compatible server at `base_url`.

    A refusal or a content filter raises LlmRefused.
    """

    name = "openai"
    answer_is = "completion"
    _limits: LimitNames

    def __init__(self, *args: Any, **given: Any) -> None:
        """See SdkProvider."""
        super().__init__(*args, **given)
        self._limits = LimitNames()

    def with_key(self, key: SecretStr) -> Self:
        """See LlmProvider."""
        provider = super().with_key(key)
        provider._limits = self._limits  # noqa: SLF001 - the same server's
        return provider

    def _connect(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        from router.llm.http import open_http

        return AsyncOpenAI(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
            http_client=open_http(self._timeout),
        )

    async def _ask(
        self, client: AsyncOpenAI, prompt: Prompt, model: str, max_tokens: int
    ) -> ChatCompletion:
        from openai import BadRequestError, UnprocessableEntityError

        name = self._limits.learnt(model) or limit_name(self._base_url, model)
        try:
            return await _asked(client, prompt, model, {name: max_tokens})
        except (BadRequestError, UnprocessableEntityError) as error:
            other = other_name(name, error.body)
            if other is None:
                raise
            answer = await _asked(client, prompt, model, {other: max_tokens})
        self._limits.learn(model, other)
        return answer

    def _list(self, client: AsyncOpenAI) -> AbstractAsyncContextManager[Any]:
        return client.models.with_streaming_response.list()

    def _read(self, answer: ChatCompletion) -> LlmReply:
        if not answer.choices:
            raise LlmAway("openai answered without a choice")
        choice = answer.choices[0]
        if choice.message.refusal or _declines(choice.message.content):
            raise LlmRefused("the model declined to answer")
        ending = ending_of(choice.finish_reason)
        if ending == "broken" or getattr(choice, "error", None):
            raise LlmAway("openai broke off its answer with an error")
        if ending == "refused":
            raise LlmRefused("stopped by the content filter")
        usage = answer.usage
        return LlmReply(
            text=_text(choice.message.content),
            provider=self.name,
            model=model_told(answer.model),
            tokens_in=tokens_told(getattr(usage, "prompt_tokens", None)),
            tokens_out=tokens_told(getattr(usage, "completion_tokens", None)),
            truncated=ending == "cut_off",
            calls=_calls(choice.message),
        )

    def _reason(self, body: object) -> str:
        return _reason(body)

    def _ask_nobody(self) -> None:
        _ask_nobody()


async def _asked(
    client: AsyncOpenAI, prompt: Prompt, model: str, limit: dict[str, int]
) -> ChatCompletion:
    turns: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
    if prompt.pictures:
        turns[-1]["content"] = _with_pictures(prompt)
    tools: list[Any] = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.takes),
                "strict": True,
            },
        }
        for tool in prompt.tools
    ]
    offered: Any = {"tools": tools} if tools else {}
    answer: ChatCompletion = await client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": prompt.system}, *turns],
        extra_body=limit,
        **offered,
    )
    return answer


def _calls(message: Any) -> tuple[ToolCall, ...]:
    """Return the called tools; anything that is not a function call is skipped."""
    functions = [getattr(call, "function", None) for call in message.tool_calls or ()]
    return tuple(read_call(each.name, each.arguments) for each in functions if each is not None)


def _with_pictures(prompt: Prompt) -> list[Any]:
    blocks: list[Any] = []
    for picture in prompt.pictures:
        url = {"url": f"data:image/jpeg;base64,{picture.jpeg}"}
        blocks += [{"type": "text", "text": picture.label}, {"type": "image_url", "image_url": url}]
    return [*blocks, {"type": "text", "text": prompt.messages[-1].text}]


def _declines(content: object) -> bool:
    """Whether one of the chunks says that the model will not answer."""
    chunks = content if isinstance(content, list) else []
    return any(isinstance(chunk, dict) and chunk.get("type") == "refusal" for chunk in chunks)


def _text(content: object) -> str:
    """Return the text; some servers send it in chunks, with reasoning chunks in between.

    Raises TypeError if it is neither a text nor chunks.
    """
    if not isinstance(content, list):
        return "".join([content or ""])  # type: ignore[list-item]
    return "".join(_chunk(chunk) for chunk in content)


def _chunk(chunk: object) -> str:
    kind = chunk.get("type", "text") if isinstance(chunk, dict) else "text"
    if kind not in ("text", "output_text"):
        return ""
    text = chunk.get("text") if isinstance(chunk, dict) else chunk
    if not isinstance(text, str):
        raise TypeError("a chunk without a text")
    return text


def _ask_nobody() -> None:
    """Ask once over a transport that answers by itself, without a network."""
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
            async with client.models.with_streaming_response.list():
                pass

    asyncio.run(ask())


def _reason(body: object) -> str:
    match body:  # the SDK puts the content of the answer's `error` there
        case {"message": str() as message}:
            return message
        case _:
            return "no reason given"
