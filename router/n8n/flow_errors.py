"""Finds out what went wrong in a flow, from n8n's response: a rate limit, a key, a model, the flow.

Flows need not name their failures. If a node is set to continue on error, n8n puts what it knows
into the item's `error`: a text, or an object with a status somewhere in it. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmFailed,
    LlmMisconfigured,
    LlmRefused,
)
from router.logs.scrubber import scrubbed
from router.whatsapp.clean import clean

Kind: TypeAlias = Literal[
    "llm_rate_limited",
    "llm_down",
    "llm_unpaid",
    "llm_key_refused",
    "llm_key",
    "llm_refused",
    "llm_empty",
    "flow_error",
]

_LONGEST = 300  # characters of an error that are shown
_LONGEST_READ = 4000  # characters of an error that are searched
_DEEPEST = 6
_MOST = 200  # values of an error that are searched
_STATUS_KEYS = ("httpCode", "statusCode", "status", "code", "responseCode")
_TEXT_KEYS = ("message", "description", "error", "errorMessage", "cause", "detail", "type", "code")
_STATUS_FIRST = re.compile(r"\s*(?:no status |error:? |status(?: code)? )?([45]\d\d)\b")
_STATUS_SAID = re.compile(r"\b(?:status(?: code)?|code|http)[ :=]{1,3}([45]\d\d)\b", re.IGNORECASE)
# n8n 2.20 says only this about a 404 in a node that continues on error.
_NO_SUCH_SAID = re.compile(r"the resource you are requesting could not be found", re.IGNORECASE)
_RETRY = re.compile(
    r"(?:try again|retry)[^.\n]{0,40}? (\d{1,4}(?:\.\d+)?) ?s(?:ec|\b)", re.IGNORECASE
)

_SAID: tuple[tuple[Kind, str], ...] = (
    ("llm_down", r"overloaded|insufficient.capacity"),
    (
        "llm_rate_limited",
        (
            r"(?:quota|limit)[^.\n]{0,80}(?:per|/) ?(?:minute|min|second|sec|hour)\b"
            r"|\b(?:requests|tokens|rpm|tpm)[ _-]?per[ _-]?(?:minute|second|hour)|per_?minute"
        ),
    ),
    (
        "llm_unpaid",
        (
            r"insufficient[_ -]?quota|exceeded your current quota|credit balance|billing"
            r"|quota exceeded"
        ),
    ),
    ("llm_rate_limited", r"rate.?limit|too many requests|too_many_requests"),
    (
        "llm_key_refused",
        (
            r"invalid.{0,3}x?-?api.?key|incorrect api key|authentication_error|permission_error"
            r"|authorization failed|unauthori[sz]ed|invalid_api_key|check your credentials"
        ),
    ),
    (
        "llm_key",
        (
            r"credentials? (?:not found|for .{0,60} (?:not found|missing))"
            r"|node does not have any credentials|model_not_found|not_found_error"
            r"|does not exist or you do not have access"
        ),
    ),
    ("llm_refused", r"content.?filter|content management policy|safety system|\brefusal\b"),
    (
        "llm_down",
        (
            r"econnrefused|econnreset|econnaborted|etimedout|enotfound|eai_again|epipe"
            r"|socket hang up|connection (?:error|refused|reset|was aborted)|time(?:d)?.?out"
            r"|service (?:unavailable|was not able to process)|bad gateway|gateway time"
            r"|fetch failed|api_error|internal server error|cannot be (?:reached|connected)"
        ),
    ),
)
_PLAIN = 6  # the first so many patterns count more than the status
_OF_A_KEY = frozenset({401, 402, 403, 404})
_OF_AN_LLM = re.compile(
    r"\bllm\b|\bmodels?\b|anthropic|claude|openai|\bgpt|gemini|mistral|groq|x-?api-?key|api.?key"
    r"|\b(?:invalid|not_found|authentication|permission)_?(?:request_)?error\b",
    re.IGNORECASE,
)
_WORDS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _SAID)
_BY_STATUS: Mapping[int, Kind] = {
    401: "llm_key_refused",
    402: "llm_unpaid",
    403: "llm_key_refused",
    404: "llm_key",
    408: "llm_down",
    409: "llm_down",
    425: "llm_down",
    429: "llm_rate_limited",
}


def failure_of(error: object, *, where: str) -> LlmError:
    """Return the turn's failure as the error that the Python handler would raise.

    `error` is what n8n or the flow said about it; the text begins with `where`.
    """
    texts = list(_texts(error))
    said = " · ".join(dict.fromkeys(texts))[:_LONGEST_READ]
    kind = kind_of(_status(error, texts), said)
    words = scrubbed(clean(f"{where}: {_named(kind)}: {said or 'no reason given'}"))[:_LONGEST]
    return as_error(kind, words, _retry_after(error, said))


def as_error(kind: Kind, words: str, retry_after: float | None = None) -> LlmError:
    """Return the error that the Python handler would raise."""
    match kind:
        case "llm_rate_limited":
            return LlmAway(words, retry_after)
        case "llm_down":
            return LlmAway(words, retry_after)
        case "llm_unpaid":
            return LlmAccountRefused(words, "account_empty", retry_after)
        case "llm_key_refused":
            return LlmAccountRefused(words, "account_refused", retry_after)
        case "llm_key":
            return LlmMisconfigured(words)
        case "llm_refused":
            return LlmRefused(words)
        case "llm_empty":
            return LlmEmpty(words)
        case _:
            return LlmFailed(words)


def kind_of(status: int | None, said: str) -> Kind:
    """Return the kind of failure; unambiguous words count more than the status."""
    for kind, pattern in _WORDS[:_PLAIN]:
        if pattern.search(said):
            return kind
    if status is not None and not (status in _OF_A_KEY and not is_of_an_llm(said)):
        return _BY_STATUS.get(status, "llm_down" if status >= 500 else "flow_error")
    if status in _OF_A_KEY:
        return "flow_error"  # from a tool or another server: a retry may help
    for kind, pattern in _WORDS[_PLAIN:]:
        if pattern.search(said):
            return kind
    return "flow_error"


def is_of_an_llm(said: str) -> bool:
    """Whether an error's words are about a model, its provider or its key."""
    return _OF_AN_LLM.search(said) is not None


def _named(kind: Kind) -> str:
    return {
        "llm_rate_limited": "the LLM's rate limit",
        "llm_down": "the LLM, or what the flow asks, is away",
        "llm_unpaid": "the credit of the LLM's account is used up",
        "llm_key_refused": "the LLM refuses the key of the credential",
        "llm_key": "the LLM accepts neither the key nor the model of the credential",
        "llm_refused": "the LLM declines",
        "llm_empty": "the LLM said nothing",
        "flow_error": "an error of the flow",
    }[kind]


def _status(error: object, texts: list[str]) -> int | None:
    """Return the HTTP status in an error, in a field or at the beginning of a text."""
    for value in _objects(error):
        for key in _STATUS_KEYS:
            found = value.get(key)
            if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) == 3:
                found = int(found)
            if isinstance(found, int) and not isinstance(found, bool) and 400 <= found <= 599:
                return found
    for text in texts:
        if said := _STATUS_FIRST.match(text) or _STATUS_SAID.search(text[:2000]):
            return int(said[1])
    return 404 if any(_NO_SUCH_SAID.match(text) for text in texts) else None


def _retry_after(error: object, said: str) -> float | None:
    for value in _objects(error):
        for key in ("retry-after", "retry_after", "retryAfter"):
            found = value.get(key)
            if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 5:
                found = int(found)
            if (
                isinstance(found, int | float)
                and not isinstance(found, bool)
                and 0 <= found <= 3600
            ):
                return float(found)
    told = _RETRY.search(said)
    return min(float(told[1]), 3600.0) if told else None


def _objects(error: object) -> Iterator[Mapping[str, object]]:
    """Yield the objects in an error, from the outside in; of a huge error only the first."""
    waiting: list[tuple[object, int]] = [(error, 0)]
    seen = 0
    while waiting and seen < _MOST:
        value, depth = waiting.pop(0)
        seen += 1
        if depth > _DEEPEST:
            continue
        if isinstance(value, dict):
            yield value
            waiting += [(each, depth + 1) for each in list(value.values())[:_MOST]]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value[:_MOST]]


def _texts(error: object) -> Iterator[str]:
    """Yield the texts of an error, without headers, bodies and stack traces."""
    if isinstance(error, str):
        yield error[:2000].strip()
        return
    for value in _objects(error):
        for key in _TEXT_KEYS:
            found = value.get(key)
            if isinstance(found, str) and found.strip():
                yield found[:2000].strip()
