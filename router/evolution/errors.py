"""What it means when a call of Evolution API fails.

Evolution answers errors as `{status, error, response: {message}}`, the message being a string, a
list, nested lists or objects. On the Cloud channel an error of Meta's Graph API comes as HTTP 201
without a `key`. Some permanent-looking statuses are transient (400 "Connection Closed"), and after
a time-out nobody knows: for a send, that is a case of its own.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import httpx

from router.outbound.client import AddressRefused
from router.webhook.clean import clean

# Meta's error codes that mean "try later": throttling, outages, temporary blocks. From the page
# "Error codes" of the WhatsApp Cloud API's documentation. Every other code of a send is for good.
_GRAPH_TRANSIENT = frozenset(
    {1, 2, 4, 80007, 130429, 131000, 131016, 131048, 131056, 131057, 133004}
)
# The line to WhatsApp is down: Baileys says so before it writes anything.
_CLOSED = ("connection closed", "connection lost", "not connected", "stream errored")
# Evolution answers 400 for whatever goes wrong while it sends, and it stores the message (with
# Prisma) only when the phone has it.
_MAYBE_AFTERWARDS = ("timed out", "prisma")
_NOBODY = "is not on WhatsApp"
# Meta repeats a malformed access token in its error.
_META_TOKEN = re.compile(r"\bEAA\w{8,}")


class EvolutionError(Exception):
    """A call of Evolution did not do what it was made for; the text says what Evolution said."""


class EvolutionRefused(EvolutionError):
    """It will not work however often it is tried: a bad key, no such instance, no such number."""


class NotOnWhatsApp(EvolutionRefused):
    """Nobody has WhatsApp at this number."""


class AddressNotAllowed(EvolutionRefused):
    """The server's address leads to where no tenant's address may: nothing was sent there."""


class EvolutionAway(EvolutionError):
    """It did certainly not happen, and may work later. `retry_after` in seconds, if it was said."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SendInDoubt(EvolutionError):
    """A send may have reached the phone: its answer was lost, or makes no sense."""


def judge_answer(response: httpx.Response, *, is_send: bool) -> EvolutionError | None:
    """Return what a finished answer means as an error, or None where it is none."""
    body = _json(response)
    status = response.status_code
    said = _without_secrets(f"{status}: {_said(body) or response.reason_phrase}", response)
    if 200 <= status < 300:
        return _judge_sent(body, said) if is_send else None
    if 300 <= status < 400:
        return EvolutionRefused(f"{said}: it points elsewhere, the server's address is not right")
    if status == 429:
        return EvolutionAway(said, _retry_after(response))
    if status == 400:
        return _judge_bad_request(said, is_send=is_send)
    if status < 500 and status != 408:
        return EvolutionRefused(said)
    return SendInDoubt(said) if is_send else EvolutionAway(said)


def judge_failure(error: httpx.RequestError, *, is_send: bool) -> EvolutionError:
    """Return what it means that no whole answer came."""
    what = f"{type(error).__name__} {error}".strip()
    match error:
        case AddressRefused():
            return AddressNotAllowed(f"the server's address is not allowed: {error}")
        case httpx.UnsupportedProtocol():
            return EvolutionRefused(f"the server's address is not right: {error}")
        case httpx.LocalProtocolError():  # it quotes the header that it would not write
            return EvolutionRefused("the request cannot be written: is the key right?")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return EvolutionAway(what)
    return SendInDoubt(what) if is_send else EvolutionAway(what)


def _judge_bad_request(said: str, *, is_send: bool) -> EvolutionError:
    if any(word in said.lower() for word in _CLOSED):
        return EvolutionAway(said)
    if any(word in said.lower() for word in _MAYBE_AFTERWARDS):
        return SendInDoubt(said) if is_send else EvolutionAway(said)
    return NotOnWhatsApp(said) if _NOBODY in said else EvolutionRefused(said)


def _judge_sent(body: Any, said: str) -> EvolutionError | None:
    if not isinstance(body, Mapping):
        return SendInDoubt(f"an answer that is no JSON object: {said}")
    key = body.get("key")
    if isinstance(key, Mapping) and key.get("id"):
        return None
    code = body.get("code")
    if isinstance(code, int):
        text = f"Meta's Graph API refused ({code}): {said}"
        return EvolutionAway(text) if code in _GRAPH_TRANSIENT else EvolutionRefused(text)
    return SendInDoubt("it answered without the message's id")


def _said(body: Any) -> str:
    """Flatten Evolution's nested messages into one readable sentence."""
    match body:
        case {"response": {"message": message}}:
            return _said(message)
        case {"exists": False, "number": number}:
            return f"the number {_masked(str(number))} {_NOBODY}"
        case {"message": message}:
            return _said(message)
        case {"error": str() as error}:
            return error
        case list():
            return "; ".join(filter(None, (_said(item) for item in body)))
        case str():
            return body
        case _:
            return ""


def _without_secrets(said: str, response: httpx.Response) -> str:
    if key := response.request.headers.get("apikey"):
        said = said.replace(key, "…")
    return clean(_META_TOKEN.sub("…", said))  # it is going to be stored


def _masked(number: str) -> str:
    return f"…{number[-4:]}"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
