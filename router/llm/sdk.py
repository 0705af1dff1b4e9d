"""What the providers over official SDKs have in common: loading in a thread, judging errors.

The SDKs send requests, and say how they failed. Writing the request and reading the response is
done here, without the SDKs' models: those take more CPU than all the rest of a call.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import orjson
from pydantic import SecretStr

from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmMisconfigured,
    hide,
    judge_status,
    judge_told,
)
from router.llm.known import Accounts
from router.llm.loading import InThread, rehearse
from router.llm.provider import LlmReply, Prompt
from router.llm.standing import Known, Standing, judge_list
from router.llm.thinkers import Thinkers
from router.llm.tools import Toolless, refuses_tools
from router.outbound.answers import read_beside_the_loop, read_json

if TYPE_CHECKING:
    import httpx2


class _Client(Protocol):
    @property
    def auth_headers(self) -> dict[str, str]: ...

    def with_options(self, *, api_key: str) -> Self: ...

    async def close(self) -> None: ...


C = TypeVar("C", bound=_Client)
_LOOK_SECONDS = 5.0


class SdkProvider(ABC, Generic[C]):
    """An LlmProvider over an SDK whose module has the provider's name. `timeout` in seconds.

    It never retries: the caller does, so that there is one place for it.
    """

    name: str
    answer_is: str
    """The SDK's word for an answer."""

    def __init__(
        self,
        api_key: SecretStr | None,
        *,
        base_url: str | None,
        model: str,
        timeout: float,
        shared: InThread[C] | None = None,
    ) -> None:
        """`shared` gives the connections of a provider that differs only in the key."""
        self._api_key = api_key or SecretStr("")
        self._base_url = base_url
        self._model = model
        self._timeout = timeout
        self._shares = shared is not None
        self._loading = shared or InThread(self._load)
        self._thinkers = Thinkers()
        self._toolless = Toolless()
        self._accounts = Accounts()

    @property
    def account(self) -> str:
        """See LlmProvider."""
        return self._accounts.name_of(self._api_key)

    @property
    def known(self) -> Known | None:
        """See LlmProvider."""
        return self._accounts.known(self._api_key)

    @property
    def has_key(self) -> bool:
        """See LlmProvider."""
        return bool(self._api_key.get_secret_value())

    def with_key(self, key: SecretStr) -> Self:
        """See LlmProvider."""
        provider = type(self)(
            key,
            base_url=self._base_url,
            model=self._model,
            timeout=self._timeout,
            shared=self._loading,
        )
        provider._thinkers = self._thinkers  # noqa: SLF001 - the same server's
        provider._toolless = self._toolless  # noqa: SLF001
        provider._accounts = self._accounts  # noqa: SLF001
        return provider

    async def load(self) -> None:
        """See LlmProvider."""
        await self._loading.get()

    async def look(self) -> None:
        """See LlmProvider."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                standing, said = await self._looked()
        except TimeoutError:
            standing, said = "unknown", "the list of models did not come in time"
        except UnicodeError:
            standing, said = "account_refused", "the key has characters that HTTP headers forbid"
        self._accounts.heard(self._api_key, standing, said, by="look")

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """See LlmProvider."""
        try:
            reply = await self._completed(prompt, model=model, max_tokens=max_tokens)
        except LlmAccountRefused as error:
            self._accounts.heard(self._api_key, error.account, str(error), by="turn")
            raise
        self._accounts.heard(self._api_key, "works", "a reply was made", by="turn")
        return reply

    async def _looked(self) -> tuple[Standing, str]:
        """Return what the list of models shows of the account, without reading all of it."""
        client = await self._loading.get()
        sdk = import_module(self.name)
        try:
            async with self._list(client) as answer:
                return judge_list(answer.status_code, answer.headers.get("content-type", ""), "")
        except sdk.APIStatusError as error:
            said = f"{_named(error.body)} {self._reason(error.body)}"
            return judge_list(error.status_code, "", said)
        except sdk.APIError:
            return "away", "the server cannot be reached"

    async def _completed(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        client = await self._loading.get()
        sdk = import_module(self.name)  # the thread has loaded it
        model = model or self._model
        if model in self._toolless:
            prompt = replace(prompt, tools=())
        try:
            answer = await self._ask(client, prompt, model, max_tokens)
        except sdk.APIStatusError as error:
            reason = self._reason(error.body)
            if prompt.tools and refuses_tools(error.status_code, reason):
                self._toolless.learn(model, reason)
                bare = replace(prompt, tools=())
                return await self._completed(bare, model=model, max_tokens=max_tokens)
            raise judge_status(
                self.name,
                error.status_code,
                hide(self._api_key, reason),
                error.response.headers.get("retry-after"),
                _named(error.body),
            ) from error
        except sdk.APIError as error:  # no answer, or an unreadable one
            raise LlmAway(f"{self.name}: {type(error).__name__}") from error
        except UnicodeEncodeError as error:
            key = f"the key of {self.name}"
            raise LlmMisconfigured(f"{key} has characters that HTTP headers forbid") from error
        except ValueError as error:
            raise LlmAway(f"{self.name}: its answer is not JSON") from error
        if told := answer.get("error") if isinstance(answer, dict) else None:
            raise judge_told(self.name, told, self._api_key)
        try:
            return self._thinkers.heard(model, self._read(answer))
        except (AttributeError, LookupError, TypeError) as error:
            raise LlmAway(
                f"{self.name}: its answer is not a {self.answer_is}; is its URL right?"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        if (client := self._loading.made) is not None:
            await client.close()

    def _as_whom(self, client: C) -> dict[str, str]:
        """Return the headers for another key than the client's, as the SDK writes them.

        A separate client for each key would query the system again about the platform, in a thread.
        """
        if not self._shares:
            return {}
        return dict(client.with_options(api_key=self._api_key.get_secret_value()).auth_headers)

    def _load(self) -> C:
        """Load the SDK. This takes seconds, so it runs in a thread."""
        import_module(self.name)
        rehearse(self._ask_nobody, self.name)
        return self._connect()

    @abstractmethod
    def _connect(self) -> C:
        """Return the SDK's client."""

    @abstractmethod
    async def _ask(self, client: C, prompt: Prompt, model: str, max_tokens: int) -> Any:
        """Ask, and return the answer, read by `read_answer`."""

    @abstractmethod
    def _list(self, client: C) -> AbstractAsyncContextManager[Any]:
        """Ask for the list of models; only the headers of the answer are read."""

    @abstractmethod
    def _read(self, answer: Any) -> LlmReply:
        """Return the reply in the answer. Raises LlmRefused.

        Raises AttributeError, LookupError or TypeError if it is not an answer of this provider.
        """

    @abstractmethod
    def _reason(self, body: object) -> str:
        """Return why the provider refused, from the body of its answer."""

    @abstractmethod
    def _ask_nobody(self) -> None:
        """Make a call over a transport that answers by itself."""


def written(question: dict[str, Any]) -> bytes:
    """Return a question as JSON. Raises LlmMisconfigured if a text in it is not valid Unicode."""
    try:
        return orjson.dumps(question)
    except orjson.JSONEncodeError as error:  # half of a surrogate pair
        raise LlmMisconfigured("the prompt contains text that JSON cannot represent") from error


async def read_answer(response: httpx2.Response) -> Any:
    """Return the JSON of a response; None if it is not JSON and does not claim to be.

    Raises ValueError if it claims to be JSON and is not.
    """
    body = response.content
    try:
        return await read_beside_the_loop(body, lambda: read_json(body))
    except ValueError:
        if "json" in response.headers.get("content-type", "").lower():
            raise
        return None


def _named(body: object) -> str:
    """Return the provider's name of its error; OpenAI's SDK passes only the content of `error`."""
    said = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(said, dict):
        return ""
    return " ".join(str(said.get(name)) for name in ("code", "type"))[:200]
