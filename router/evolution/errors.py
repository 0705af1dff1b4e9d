"""What the failures of calls to Evolution API mean.

Evolution's errors have the form `{status, error, response: {message}}`; the message is a string, a
list, nested lists or objects. On the Cloud channel an error of Meta's Graph API comes as HTTP 201
without a `key`. Some statuses look permanent and are transient (400 "Connection Closed"). After a
time-out the result is unknown: a send is then in doubt.

The form of a failed send's answer shows whether the message may have left (Evolution's source,
2.3.6):

- Evolution's own refusal is a sentence or a list of sentences: nothing was sent.
- An error while it sends is a 400 whose text begins with the error's name (`Error: Timed Out`,
  `TypeError: …`, `PrismaClient…`). The phone may have the message, because Evolution stores it and
  makes the answer only after that. On the Cloud channel a TypeError means that Meta did not answer.
- An error while it prepares the media has the status of the media's own server, or 500: nothing was
  sent.
"""

import math
import re
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

import httpx

from router.outbound.answers import count_values, read_json
from router.outbound.bounds import AnswerTooLong
from router.outbound.refused import AddressRefused
from router.whatsapp.clean import clean
from router.whatsapp.depth import too_deep

# Meta's error codes that mean "try later": throttling, outages, temporary blocks. From the page
# "Error codes" of the WhatsApp Cloud API's documentation. All other codes of a send are permanent.
_GRAPH_TRANSIENT = frozenset(
    {1, 2, 4, 80007, 130429, 131000, 131016, 131048, 131056, 131057, 133004}
)
# Codes about the message (a parameter, its type, its media), not about its sender or receiver.
_GRAPH_OF_MESSAGE = frozenset({100, 131008, 131009, 131051, 131053})
# Statuses by which Evolution, or a proxy before it, refuses the body: too large, or a wrong type.
_OF_MESSAGE = frozenset({413, 415, 422})
# The line to WhatsApp is down. Baileys reports this before it sends anything.
_CLOSED = ("connection closed", "connection lost", "not connected", "stream errored")
# The name of an error that was thrown while Evolution worked: not a refusal.
_THROWN = re.compile(r"\b\w*Error: |\bTimed Out\b|prisma|Cannot read propert", re.IGNORECASE)
# WhatsApp's refusals when it is asked about the recipient, before anything is sent.
_WHATSAPP_REFUSES = ("error: forbidden", "error: item-not-found", "error: not-acceptable")
# Baileys reads this from the quoted message, before anything is sent.
_NO_QUOTE = "(reading 'fromMe')"
_NOBODY = "is not on WhatsApp"
# The status of the media's server, which Evolution passes on as its own.
_MEDIA_STATUS = re.compile(r"Request failed with status code (\d{3})")
_MEDIA_TRANSIENT = frozenset({408, 425, 429})
_MEDIA_UNUSABLE = (
    *("unsupported image format", "Failed to fetch stream from"),
    "File or buffer is undefined",  # a channel that accepts voice messages only as uploads
)
# The media, or Meta's server for uploads, cannot be reached. Evolution writes an object instead of
# a text if Meta refuses an upload, and drops the reason.
_MEDIA_AWAY = (
    *("fetch failed", "ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNRESET"),
    *("(reading 'data')", "[object Object]"),
)
_WITHOUT_MEDIA = ("sendText", "sendReaction", "sendLocation", "sendContact", "sendPoll")
_LONGEST_SAID = 2000  # characters of an error that are kept
_LONGEST_ID = 500  # characters of a message's id; the Cloud API's have some 70
DEEPEST = 200
"""Nested objects and lists; a quote of a quote has some 20."""
MOST_OF_A_WORD = 20_000
"""Values in an answer about a call's result; a thumbnail has one for each byte."""
REPEATS = 3
"""How often the answer to a send may repeat the request. On the Cloud channel it contains the media
(twice with webhookBase64); an error of Evolution's database shows all that was to be stored."""
# Meta's error quotes a malformed access token.
_META_TOKEN = re.compile(r"\bEAA\w{8,}")


class EvolutionError(Exception):
    """A call of Evolution failed; the text contains what Evolution said."""


class EvolutionRefused(EvolutionError):
    """A retry does not help: a bad key, no such instance, no such number."""


class NotOnWhatsApp(EvolutionRefused):
    """The number is not on WhatsApp."""


class MessageRefused(EvolutionRefused):
    """This message is refused because of its content; another message may pass."""


class MediaRefused(MessageRefused):
    """The media of a send cannot be used: the URL does not give it, or its type is wrong."""


class AddressNotAllowed(EvolutionRefused):
    """The server's URL leads to an address that tenants may not use; nothing was sent there."""


class EvolutionAway(EvolutionError):
    """The call had certainly no effect, and may work later. `retry_after` in seconds, if given."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MediaAway(EvolutionAway):
    """The media of a send cannot be fetched or uploaded now; a message without media may work."""


class AnswerTooLarge(EvolutionAway):
    """The answer is too long, or has too many values; the caller may ask for smaller parts.

    `wa_id` is the id of the only message in it, if that can be read; `weight` is what reading it
    has cost, like a page's.
    """

    wa_id: str | None = None
    weight: int = 0


class SendInDoubt(EvolutionError):
    """A send may have reached the phone: its answer was lost, or is not understood."""


def judge_answer(response: httpx.Response, *, is_send: bool) -> EvolutionError | None:
    """Return the error that a complete answer means, or None if it is a success."""
    status = response.status_code
    if 200 <= status < 300 and not is_send:
        return None
    body, is_monstrous = _json(response, is_send=is_send)
    told = _said(body)[:_LONGEST_SAID] or response.reason_phrase
    said = _without_secrets(f"{status}: {told}", response)
    if 200 <= status < 300:
        return _judge_sent(body, said)
    if is_send and (judged := _judge_media(status, said)) is not None:
        return _of_no_media(judged, said) if _has_no_media(response.request) else judged
    if 300 <= status < 400:
        return EvolutionRefused(f"{said}: it points elsewhere, the server's URL is not right")
    if status == 429:
        return EvolutionAway(said, _retry_after(response))
    if status == 400 and is_monstrous and is_send:
        return SendInDoubt(f"{said}: what it says of the send cannot be read")
    if status == 400:
        return _judge_bad_request(said, is_send=is_send)
    if status < 500 and status != 408:
        is_of_message = is_send and status in _OF_MESSAGE
        return MessageRefused(said) if is_of_message else EvolutionRefused(said)
    return SendInDoubt(said) if is_send else EvolutionAway(said)


def judge_failure(error: httpx.RequestError, *, is_send: bool) -> EvolutionError:
    """Return the error if no complete answer arrived."""
    what = f"{type(error).__name__} {error}".strip()
    match error:
        case AddressRefused():
            return AddressNotAllowed(f"the server's URL is not allowed: {error}")
        case httpx.UnsupportedProtocol():
            return EvolutionRefused(f"the server's URL is not right: {error}")
        case httpx.LocalProtocolError():  # its text may quote the header with the key
            return EvolutionRefused("the request cannot be written: is the key right?")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return EvolutionAway(what)
    if is_send:
        return SendInDoubt(what)
    return AnswerTooLarge(what) if isinstance(error, AnswerTooLong) else EvolutionAway(what)


def _judge_bad_request(said: str, *, is_send: bool) -> EvolutionError:
    if any(word in said.lower() for word in _CLOSED):
        return EvolutionAway(said)
    if _NO_QUOTE in said:
        no_quote = f"the quoted message has no key: {said}"
        return MessageRefused(no_quote) if is_send else EvolutionRefused(no_quote)
    if any(word in said.lower() for word in _WHATSAPP_REFUSES):
        return EvolutionRefused(said)
    if _THROWN.search(said):
        return SendInDoubt(said) if is_send else EvolutionAway(said)
    if _NOBODY in said:
        return NotOnWhatsApp(said)
    return MessageRefused(said) if is_send else EvolutionRefused(said)


def _judge_media(status: int, said: str) -> EvolutionError | None:
    """Return the error if the media could not be prepared; None if the failure is another one."""
    if status in (400, 500) and any(words in said for words in _MEDIA_UNUSABLE):
        return MediaRefused(f"the media cannot be used: {said}")
    if status == 400 and _THROWN.search(said):
        return None  # for example, a transcription failed: the message was sent before that
    if found := _MEDIA_STATUS.search(said):
        answered = int(found[1])
        text = f"the media's URL answered with an error: {said}"
        if answered in _MEDIA_TRANSIENT or answered >= 500:
            return MediaAway(text)
        return MediaRefused(text)
    if status == 500 and any(words in said for words in _MEDIA_AWAY):
        return MediaAway(f"the media cannot be fetched, or not uploaded to Meta: {said}")
    return None


def _has_no_media(request: httpx.Request) -> bool:
    return any(f"/message/{method}/" in request.url.path for method in _WITHOUT_MEDIA)


def _of_no_media(judged: EvolutionError, said: str) -> EvolutionError:
    """Return what such an error means without media: a service of Evolution is away or refuses."""
    return EvolutionAway(said) if isinstance(judged, EvolutionAway) else EvolutionRefused(said)


def _judge_sent(body: Any, said: str) -> EvolutionError | None:
    if not isinstance(body, Mapping):
        return SendInDoubt(f"an answer that is not a JSON object: {said}")
    key = body.get("key")
    wa_id = key.get("id") if isinstance(key, Mapping) else None
    if isinstance(wa_id, str) and 0 < len(clean(wa_id)) <= _LONGEST_ID:
        return None
    code = body.get("code")
    if isinstance(code, int):
        text = f"Meta's Graph API refused ({code}): {said}"
        if code in _GRAPH_TRANSIENT:
            return EvolutionAway(text)
        return MessageRefused(text) if code in _GRAPH_OF_MESSAGE else EvolutionRefused(text)
    return SendInDoubt("it answered without the message's id")


def _said(body: Any) -> str:
    """Join Evolution's nested messages into one readable sentence."""
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
    return clean(_META_TOKEN.sub("…", said))  # cleaned, because it will be stored


def _masked(number: str) -> str:
    return f"…{number[-4:]}"


def most_values(response: httpx.Response) -> int:
    """Return how many values the answer to a send may have, because it may repeat the request."""
    if count_values(response.content) <= MOST_OF_A_WORD:
        return MOST_OF_A_WORD  # counting the values of a large request takes long
    return MOST_OF_A_WORD + REPEATS * count_values(response.request.content)


def _json(response: httpx.Response, *, is_send: bool) -> tuple[Any, bool]:
    """Return the answer's JSON, and whether it is JSON that is too large or deep to be read."""
    try:
        most = most_values(response) if is_send else MOST_OF_A_WORD
        body = read_json(response.content, most=most)
    except (JSONDecodeError, UnicodeDecodeError):
        return None, False
    except ValueError:
        return None, True
    return (None, True) if too_deep(body, DEEPEST) else (body, False)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
