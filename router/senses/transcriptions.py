"""Transcribes sound by POST /audio/transcriptions, through OpenAI's SDK (loaded in a thread).

The service is OpenAI, Groq, or your own whisper server: they differ in URL, key and model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from router.llm.accounts import account_cause
from router.llm.errors import hide, read_retry_after
from router.llm.loading import InThread
from router.llm.provider import tokens_told
from router.senses.hearing import Heard, NeedAway, NotUnderstood, Sound
from router.senses.hearsay import without_hearsay

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_IT = "the speech service"
TOKENS_A_SECOND = 10
"""The cost of a second of sound, if a server reports no tokens."""
_REFUSED = (400, 404, 413, 415, 422)  # the sound or the request is refused, not the account
_LONGEST = 20_000  # characters; ten minutes of speech have half as many


class Transcriptions:
    """A Listener over the network. `timeout` in seconds."""

    def __init__(
        self, base_url: str | None, api_key: SecretStr | None, model: str, timeout: float
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key or SecretStr("none")  # your own server needs no key
        self._model = model
        self._timeout = timeout
        self._client = InThread(self._connect)

    async def load(self) -> None:
        """See Listener."""
        await self._client.get()

    async def hear(self, sound: Sound, language: str | None, tenant: int) -> Heard:  # noqa: ARG002
        """See Listener."""
        client = await self._client.get()
        import openai  # the thread has loaded it

        hint: dict[str, Any] = {} if language is None else {"language": language}
        try:
            answer = await client.audio.transcriptions.create(
                model=self._model,
                file=(sound.name, sound.content, sound.mimetype),
                response_format="json",
                **hint,
            )
        except openai.APIStatusError as error:
            said = hide(self._api_key, _reason(error.body))
            raise _judged(error.status_code, said, error.response.headers) from error
        except openai.APIError as error:  # the service may have transcribed it, and charge for it
            cause = error.__cause__
            unasked = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
            text = f"{_IT}: {type(error).__name__}"
            raise NeedAway(text, "speech", may_have_cost=not unasked) from error
        except ValueError as error:  # the SDK passes on the error of broken JSON
            text = f"{_IT}: its answer is not JSON"
            raise NotUnderstood(text, final=False, may_have_cost=True) from error
        words = getattr(answer, "text", None)
        if not isinstance(words, str):
            text = f"{_IT}: its answer has no text"
            raise NotUnderstood(text, final=False, may_have_cost=True)
        return Heard(without_hearsay(words[:_LONGEST]), _tokens(getattr(answer, "usage", None)))

    async def close(self) -> None:
        """See Listener."""
        if (client := self._client.made) is not None:
            await client.close()

    def _connect(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            api_key=self._api_key.get_secret_value(),
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
        )


def _judged(status: int, said: str, headers: Mapping[str, str]) -> NotUnderstood:
    """Return what an error means: it is about this sound, or the service is away."""
    text = f"{_IT} answered {status}: {said}"
    if status in _REFUSED and account_cause(status, said) is None:
        return NotUnderstood(text, final=True)
    return NeedAway(text, "speech", read_retry_after(headers.get("retry-after")))


def _tokens(usage: object) -> int:
    """Return the cost in tokens, if the response reports it."""
    told = tokens_told(getattr(usage, "total_tokens", None))
    return told or TOKENS_A_SECOND * tokens_told(getattr(usage, "seconds", None))


def _reason(body: object) -> str:
    match body:
        case {"message": str() as message} | {"detail": str() as message}:
            return message
        case _:
            return "no reason given"
