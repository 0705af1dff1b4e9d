"""Answers that come from a proxy (Supabase's, Cloudflare's, another), not from PostgREST.

Such answers have no error code, only a status, and are often HTML.
"""

import re

import httpx
import orjson

from router.errors import DatabaseAway, Invalid, StateError
from router.logs.scrubber import scrubbed
from router.state.rest_failures import KEY_CURE

_CODE = re.compile(r"PGRST\w{3}|[0-9A-Z]{5}")  # codes of PostgREST and of PostgreSQL
_TAG = re.compile(r"<[^>]*>")
_LONGEST = 200  # characters of an answer that are quoted


class ProxyAnswer(Exception):
    """An error response that is not PostgREST's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


async def refuse_proxy_answers(response: httpx.Response) -> None:
    """Raise ProxyAnswer for an error that is not PostgREST's. A hook of httpx."""
    if response.is_success:
        return
    await response.aread()
    said = _object(response.content)
    if not _CODE.fullmatch(str(said.get("code"))):
        raise ProxyAnswer(response.status_code, _shown(said, response))


def what_proxy_says(answer: ProxyAnswer, function: str, url: str) -> StateError:
    """Return the error that the status means for the caller of `function`, with the fix. Pure."""
    match answer.status:
        case 401 | 403:
            return DatabaseAway(f"Supabase refuses the key ({answer.text}): {KEY_CURE}")
        case 402:
            return DatabaseAway(
                f"Supabase has restricted the project ({answer.text}): see usage and billing in its"
                " dashboard"
            )
        case 413:
            return Invalid(f"{function}: the request is too large for Supabase ({answer.text})")
        case 540:
            return DatabaseAway("the Supabase project is paused: restore it in its dashboard")
        case status if status >= 500:
            return DatabaseAway(
                f"{function}: Supabase's proxy answers {answer}; the project may be paused,"
                " starting or overloaded: see its dashboard"
            )
        case 429:
            return DatabaseAway(f"{function}: Supabase is asked too often ({answer.text})")
        case _:
            return DatabaseAway(
                f"{url} answers {answer}, not as Supabase does: set SUPABASE_URL to the Project URL"
                " (Dashboard, Settings, API), with https://"
            )


def _object(content: bytes) -> dict[str, object]:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _shown(said: dict[str, object], response: httpx.Response) -> str:
    text = str(said.get("message") or said.get("msg") or said.get("error") or "")
    if not text:
        text = " ".join(_TAG.sub(" ", response.text).split())
    return scrubbed(text or response.reason_phrase or "no text")[:_LONGEST]  # it may have the key
