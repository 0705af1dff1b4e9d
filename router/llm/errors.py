"""The failures of LLM providers, and what each means."""

import math
from typing import Literal, TypeAlias

from pydantic import SecretStr

from router.llm.accounts import AccountCause, account_cause
from router.logs.scrubber import scrubbed

LlmCause: TypeAlias = (
    AccountCause
    | Literal["llm_away", "n8n_away", "misconfigured", "flow_failed", "model_refused", "failed"]
)
"""Why there is no reply, as people are told: see `hybridflow.endings`."""


class LlmError(Exception):
    """The provider gave no usable reply; the text says why, without keys or prompts.

    `execution`: n8n's failed execution and its link, if a flow was asked.
    """

    execution: tuple[str, str | None] | None = None

    cause: LlmCause = "failed"


class LlmAway(LlmError):
    """The call may work later: timeout, rate limit, overload.

    `retry_after` is in seconds, if the provider names it. `is_free`: certainly nothing was
    generated, so nothing is billed.
    """

    cause: LlmCause = "llm_away"

    def __init__(
        self, message: str, retry_after: float | None = None, *, is_free: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_free = is_free


class LlmAccountRefused(LlmAway):
    """The key is refused, or its credit is used up, until somebody fixes that."""

    def __init__(self, message: str, cause: AccountCause, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after, is_free=True)
        self.cause: LlmCause = cause
        self.account = cause


class LlmFailed(LlmError):
    """The provider is there but failed on this question; asking again may help."""

    cause: LlmCause = "flow_failed"  # of a provider itself, only LlmEmpty is such a failure


class LlmEmpty(LlmFailed):
    """The model's answer is empty; asking again often helps."""

    cause: LlmCause = "failed"


class LlmRefused(LlmError):
    """The model declines to answer this conversation."""

    cause: LlmCause = "model_refused"


class LlmMisconfigured(LlmError):
    """The model or the request is wrong, or no key is set, until somebody changes that."""

    cause: LlmCause = "misconfigured"


class LlmOutOfRoom(LlmError):
    """The model used up all its tokens without a reply; asking again gives the same result."""


def read_retry_after(header: str | None) -> float | None:
    """Return the seconds in a Retry-After header, or None; a date counts as None."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def hide(key: SecretStr, text: str) -> str:
    """Return a provider's message, shortened, and without the key, which some servers quote."""
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
}  # the providers' own names of errors


def judge_told(provider: str, error: object, hidden: SecretStr) -> LlmError:
    """Return the meaning of an `error` in a response with status 200.

    Its code decides, because some proxies put the status there. Without a code, the error counts as
    temporary.
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

    `named` is the provider's own name of the error.
    """
    text = f"{provider} answered {status}: {message}"
    if (cause := account_cause(status, f"{named} {message}")) is not None:
        return LlmAccountRefused(text, cause, read_retry_after(retry_after))
    if status in (408, 409, 429) or status >= 500:
        return LlmAway(text, read_retry_after(retry_after), is_free=True)
    return LlmMisconfigured(text)
