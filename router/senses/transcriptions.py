"""POST /audio/transcriptions through OpenAI's SDK, which is loaded in a thread.

OpenAI, Groq, or a whisper server of one's own: they differ in the address, the key and the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from router.llm.loading import InThread
from router.llm.provider import hide, tokens_told
from router.senses.hearing import Heard, NotUnderstood, Sound
from router.senses.hearsay import without_hearsay

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_IT = "the speech service"
TOKENS_A_SECOND = 10
"""Of sound, where a server tells no tokens."""
_REFUSED = (400, 404, 413, 415, 422)  # for what the sound, or the request, is
_LONGEST = 20_000  # characters: what is said in ten minutes is half as long


class Transcriptions:
    """A Listener over the network. `timeout` in seconds."""

    def __init__(
        self, base_url: str | None, api_key: SecretStr | None, model: str, timeout: float
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key or SecretStr("none")  # a server of one's own asks for no key
        self._model = model
        self._timeout = timeout
        self._client = InThread(self._connect)

    async def load(self) -> None:
        """See Listener."""
        await self._client.get()

    async def hear(self, sound: Sound, language: str | None) -> Heard:
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
            text = f"{_IT} answered {error.status_code}: {said}"
            raise NotUnderstood(text, final=error.status_code in _REFUSED) from error
        except openai.APIError as error:
            raise NotUnderstood(
                f"the speech service: {type(error).__name__}", final=False
            ) from error
        except ValueError as error:  # the SDK lets broken JSON through as it is
            raise NotUnderstood(f"{_IT}: its answer is no JSON", final=False) from error
        words = getattr(answer, "text", None)
        if not isinstance(words, str):
            raise NotUnderstood(f"{_IT}: its answer has no text", final=False)
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


def _tokens(usage: object) -> int:
    """Return what it cost, as far as the answer tells."""
    told = tokens_told(getattr(usage, "total_tokens", None))
    return told or TOKENS_A_SECOND * tokens_told(getattr(usage, "seconds", None))


def _reason(body: object) -> str:
    match body:
        case {"message": str() as message} | {"detail": str() as message}:
            return message
        case _:
            return "no reason given"
