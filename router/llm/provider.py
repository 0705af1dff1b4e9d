"""What HybridFlow asks of an LLM provider, and what its failures mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import SecretStr
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from router.configuration.variables import LONGEST_RETRY_AFTER
from router.llm.accounts import AccountCause, account_cause
from router.llm.reasoning import without_reasoning
from router.llm.standing import Known
from router.logs.scrubber import scrubbed
from router.whatsapp.clean import as_line

_MOST_TOKENS = 100_000_000  # of one reply
_LONGEST_NAME = 200

_MORE_ROOM = 4  # times the limit, where a model used all of it up and said nothing
_MOST_ROOM = 32_000  # tokens of such an answer


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt; roles alternate, the first is the user's."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG in base64, and what is said before it."""

    label: str
    jpeg: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """What the LLM may call instead of answering; `takes` is a JSON Schema of all its arguments."""

    name: str
    description: str
    takes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; of `given` nothing is checked, and what could not be read is left out."""

    name: str
    given: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the LLM is told, and which tools it is offered, where its server knows tools.

    `pictures` come before the text of the last message.
    """

    system: str
    messages: tuple[PromptMessage, ...]
    pictures: tuple[Picture, ...] = ()
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class LlmReply:
    """What it answered; `truncated` when it ran into the token limit.

    Where it calls tools, the text may be empty.
    """

    text: str
    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    truncated: bool
    calls: tuple[ToolCall, ...] = ()


LlmCause: TypeAlias = (
    AccountCause
    | Literal["llm_away", "n8n_away", "misconfigured", "flow_failed", "model_refused", "failed"]
)
"""For what cause there is no reply, as people are told: see `hybridflow.endings`."""


class LlmError(Exception):
    """The provider gave no usable reply; the text says why, without keys or prompts.

    `execution`: n8n's that failed, where a flow was asked, and where people see it.
    """

    execution: tuple[str, str | None] | None = None

    cause: LlmCause = "failed"


class LlmAway(LlmError):
    """It may work later: time-out, rate limit, overload. `retry_after` in seconds, if given.

    `is_free`: certainly nothing was made, so nothing is billed.
    """

    cause: LlmCause = "llm_away"

    def __init__(
        self, message: str, retry_after: float | None = None, *, is_free: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_free = is_free


class LlmAccountRefused(LlmAway):
    """The key is refused, or its credit is used up: it works again when somebody cures that."""

    def __init__(self, message: str, cause: AccountCause, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after, is_free=True)
        self.cause: LlmCause = cause
        self.account = cause


class LlmFailed(LlmError):
    """It is there and failed at this question; asking again may help."""

    cause: LlmCause = "flow_failed"  # a provider itself fails so only where it says nothing


class LlmEmpty(LlmFailed):
    """It answered without a word; asking again often helps."""

    cause: LlmCause = "failed"


class LlmRefused(LlmError):
    """The model declines to answer this conversation."""

    cause: LlmCause = "model_refused"


class LlmMisconfigured(LlmError):
    """The model or the request is wrong, or no key is set: somebody has to change that."""

    cause: LlmCause = "misconfigured"


class LlmOutOfRoom(LlmError):
    """It used up all the tokens that it may and said nothing: asked again, it will do the same."""


class LlmProvider(Protocol):
    """A provider with its key, URL, default model and timeout."""

    name: str

    @property
    def has_key(self) -> bool:
        """Whether the deployment has a key of it."""

    def with_key(self, key: SecretStr) -> "LlmProvider":
        """Return the same provider with a tenant's own key; it is closed with this one."""

    @property
    def account(self) -> str:
        """A name of the key's account, that tells nothing of the key."""

    @property
    def known(self) -> Known | None:
        """How its account stands, by turns and looks; None: nothing is known."""

    async def look(self) -> None:
        """Ask for the list of models, for no token; what that shows is `known` then."""

    async def load(self) -> None:
        """Load what the first question needs, beside the event loop; return when it is there."""

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """Ask once. Raises LlmError."""

    async def close(self) -> None:
        """Close the connections."""


async def complete_with_fallback(
    first: LlmProvider,
    second: LlmProvider | None,
    prompt: Prompt,
    *,
    model: str | None,
    max_tokens: int,
    attempts: int,
    most_of_second: int | None = None,
) -> LlmReply:
    """Ask the first provider, `attempts` times where that can help, then the second, if any.

    `model` is the first provider's; the second uses its own default, and at most `most_of_second`
    tokens, for it is asked with the deployment's key in any case. A refusal is an answer: it is
    not carried to another provider. Raises the LlmError of the provider asked last, but where only
    that one is misconfigured, or its account refused, the first's, which may pass.
    """
    try:
        return await _complete(first, prompt, model, max_tokens, attempts)
    except LlmRefused:
        raise
    except LlmError as error:
        if second is None:
            raise
        failed = error
    try:
        most = max_tokens if most_of_second is None else min(max_tokens, most_of_second)
        return await _complete(second, prompt, None, most, attempts)
    except (LlmMisconfigured, LlmAccountRefused):
        if isinstance(failed, LlmMisconfigured):
            raise
        raise failed from None


async def _complete(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int, attempts: int
) -> LlmReply:
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(_may_pass_soon),
        stop=stop_any(stop_after_attempt(attempts), _AskedToWaitLong()),
        wait=_wait,
        reraise=True,
    ):
        with attempt:
            reply = await _said(provider, prompt, model, max_tokens)
            if reply.truncated and not reply.text and not reply.calls:
                reply = await _asked_with_more_room(provider, prompt, model, max_tokens, reply)
            if not reply.text and not reply.calls:
                raise LlmEmpty(f"{provider.name} answered without a word")
    return reply


async def _said(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int
) -> LlmReply:
    """Ask once, and return the answer without what the model thought aloud."""
    reply = await provider.complete(prompt, model=model, max_tokens=max_tokens)
    return replace(reply, text=without_reasoning(reply.text).strip())


async def _asked_with_more_room(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int, before: LlmReply
) -> LlmReply:
    """Ask once more, with a larger limit: a model that reasons spends tokens before it speaks.

    Raises LlmOutOfRoom where that does not help, and so would be paid for again and again.
    """
    room = more_room(max_tokens)
    if room is None:
        raise out_of_room(provider.name, max_tokens)
    try:
        reply = await _said(provider, prompt, model, room)
    except LlmMisconfigured as error:  # so many tokens are more than the model gives
        raise out_of_room(provider.name, max_tokens) from error
    except LlmAway as error:
        if error.is_free:
            raise
        # or than it makes in the time it has
        raise out_of_room(provider.name, max_tokens) from error
    if reply.truncated and not reply.text:
        raise out_of_room(provider.name, room)
    return replace(
        reply,
        tokens_in=min(reply.tokens_in + before.tokens_in, _MOST_TOKENS),
        tokens_out=min(reply.tokens_out + before.tokens_out, _MOST_TOKENS),
    )


def more_room(max_tokens: int) -> int | None:
    """Return how many tokens a model may have that used up so many; None: no more than those."""
    room = min(_MORE_ROOM * max_tokens, _MOST_ROOM)
    return room if room > max_tokens else None


def out_of_room(whose: str, limit: int) -> LlmOutOfRoom:
    """Return the error that says what to change; `whose` model it is begins its words."""
    return LlmOutOfRoom(
        f"{whose} used up {limit} tokens, presumably by reasoning, and said nothing: raise"
        " LLM_MAX_TOKENS (or the tenant's llm_max_tokens), or use a model that reasons less"
    )


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_RETRY_AFTER)


def _may_pass_soon(error: BaseException) -> bool:
    return isinstance(error, LlmAway | LlmEmpty) and not isinstance(error, LlmAccountRefused)


class _AskedToWaitLong(stop_base):
    """The turn is put aside meanwhile, so that it does not use up its lease by waiting."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _retry_after(retry_state) > LONGEST_RETRY_AFTER


def _wait(state: RetryCallState) -> float:
    return max(_backoff(state), _retry_after(state))


def _retry_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return getattr(error, "retry_after", None) or 0.0


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header; None if it has none (a date counts as none)."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def tokens_told(count: object) -> int:
    """Return a number of tokens as a provider tells it; 0 for what is none, or nobody could store.

    The SDKs do not check it, and its reply, which was paid for, is worth more than its count.
    """
    if isinstance(count, bool) or not isinstance(count, int | float):
        return 0
    return int(count) if 0 <= count <= _MOST_TOKENS else 0


def model_told(name: object) -> str:
    """Return the name of a model as a provider tells it."""
    return as_line(name)[:_LONGEST_NAME] or "not told"


def hide(key: SecretStr, text: str) -> str:
    """Return what a provider said, short and without the key, which some servers repeat."""
    shown = key.get_secret_value()
    return scrubbed(text.replace(shown, "…") if shown else text)[:300]


_STATUS_OF = {
    "authentication_error": 401,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "invalid_argument": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_denied": 403,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "resource_exhausted": 429,
    "unauthenticated": 401,
    "unsupported_parameter": 400,
    "unsupported_value": 400,
}  # what the providers call their own errors


def judge_told(provider: str, error: object, hidden: SecretStr) -> LlmError:
    """Return what an `error` means that stands in an answer whose status is 200.

    It is judged by its code, as some proxies put the status there; without one it may pass.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    message = hide(hidden, str(fields.get("message") or "no reason given"))
    named = " ".join(str(fields.get(name)) for name in ("code", "status", "type"))
    for name in ("code", "status", "type"):
        code = fields.get(name)
        status = _STATUS_OF.get(code.lower()) if isinstance(code, str) else code
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
            status = int(code)
        if isinstance(status, int) and 400 <= status < 600:
            return judge_status(provider, status, message, None, named)
    return LlmAway(f"{provider} answered 200 with an error: {message}")


def judge_status(
    provider: str, status: int, message: str, retry_after: str | None, named: str = ""
) -> LlmError:
    """Return what an HTTP status of a provider means. 529 is Anthropic's "overloaded".

    `named` is how the provider itself calls the error.
    """
    text = f"{provider} answered {status}: {message}"
    if (cause := account_cause(status, f"{named} {message}")) is not None:
        return LlmAccountRefused(text, cause, read_retry_after(retry_after))
    if status in (408, 409, 429) or status >= 500:
        return LlmAway(text, read_retry_after(retry_after), is_free=True)
    return LlmMisconfigured(text)
