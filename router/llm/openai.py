"""OpenAI's Chat Completions through the official SDK, which is loaded in a thread.

It uses Chat Completions and not Responses, because every OpenAI-compatible server offers it.
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
from router.llm.sdk import SdkProvider, read_answer, written
from router.llm.tools import read_call

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PATH = "/chat/completions"


class OpenAiProvider(SdkProvider["AsyncOpenAI"]):
    """Asks OpenAI, or a compatible server at `base_url`.

    A refusal and a content filter raise LlmRefused.
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

    async def _ask(self, client: AsyncOpenAI, prompt: Prompt, model: str, max_tokens: int) -> Any:
        from openai import BadRequestError, UnprocessableEntityError

        name = self._limits.learnt(model) or limit_name(self._base_url, model)
        try:
            return await self._asked(client, prompt, model, {name: max_tokens})
        except (BadRequestError, UnprocessableEntityError) as error:
            other = other_name(name, error.body)
            if other is None:
                raise
            answer = await self._asked(client, prompt, model, {other: max_tokens})
        self._limits.learn(model, other)
        return answer

    async def _asked(
        self, client: AsyncOpenAI, prompt: Prompt, model: str, limit: dict[str, int]
    ) -> Any:
        import httpx2  # the SDK's own

        answer = await client.post(
            _PATH,
            cast_to=httpx2.Response,
            content=written({**_question(prompt, model), **limit}),
            options={"headers": self._as_whom(client)},
        )
        return await read_answer(answer)

    def _list(self, client: AsyncOpenAI) -> AbstractAsyncContextManager[Any]:
        return client.models.with_streaming_response.list(extra_headers=self._as_whom(client))

    def _read(self, answer: Any) -> LlmReply:
        choices = answer.get("choices")
        if not choices:
            raise LlmAway("openai answered without a choice")
        choice = choices[0]
        message = choice["message"]
        content = message.get("content")
        if message.get("refusal") or _declines(content):
            raise LlmRefused("the model declined to answer")
        ending = ending_of(choice.get("finish_reason"))
        if ending == "broken" or choice.get("error"):
            raise LlmAway("openai broke off its answer with an error")
        if ending == "refused":
            raise LlmRefused("stopped by the content filter")
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return LlmReply(
            text=_text(content),
            provider=self.name,
            model=model_told(answer.get("model")),
            tokens_in=tokens_told(usage.get("prompt_tokens")),
            tokens_out=tokens_told(usage.get("completion_tokens")),
            truncated=ending == "cut_off",
            calls=_calls(message.get("tool_calls")),
        )

    def _reason(self, body: object) -> str:
        return _reason(body)

    def _ask_nobody(self) -> None:
        _ask_nobody()


def _question(prompt: Prompt, model: str) -> dict[str, Any]:
    turns: list[Any] = [{"role": m.role, "content": m.text} for m in prompt.messages]
    if prompt.pictures:
        turns[-1]["content"] = _with_pictures(prompt)
    question = {"model": model, "messages": [{"role": "system", "content": prompt.system}, *turns]}
    if prompt.tools:
        question["tools"] = [
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
    return question


def _calls(told: Any) -> tuple[ToolCall, ...]:
    """Return the called tools; anything that is not a function call is skipped."""
    calls = [call.get("function") if isinstance(call, dict) else None for call in told or ()]
    return tuple(read_call(each.get("name"), each.get("arguments")) for each in calls if each)


def _with_pictures(prompt: Prompt) -> list[Any]:
    blocks: list[Any] = []
    for picture in prompt.pictures:
        url = {"url": f"data:image/jpeg;base64,{picture.jpeg}"}
        blocks += [{"type": "text", "text": picture.label}, {"type": "image_url", "image_url": url}]
    return [*blocks, {"type": "text", "text": prompt.messages[-1].text}]


def _declines(content: object) -> bool:
    """Whether one of the chunks is a refusal."""
    chunks = content if isinstance(content, list) else []
    return any(isinstance(chunk, dict) and chunk.get("type") == "refusal" for chunk in chunks)


def _text(content: object) -> str:
    """Return the text of `content`; some servers send chunks, with reasoning chunks among them.

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
    """Make a call over a transport that answers by itself, without a network."""
    import httpx2  # the SDK's own
    from openai import AsyncOpenAI

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={}))

    async def ask() -> None:
        async with AsyncOpenAI(
            api_key="none", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
        ) as client:
            await client.post(_PATH, cast_to=httpx2.Response, content=b"{}")
            async with client.models.with_streaming_response.list():
                pass

    asyncio.run(ask())


def _reason(body: object) -> str:
    match body:  # the SDK passes the content of the answer's `error`
        case {"message": str() as message}:
            return message
        case _:
            return "no reason given"
