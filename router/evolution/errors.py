"""What it means when a call of Evolution API fails.

Evolution answers errors as `{status, error, response: {message}}`, the message being a string, a
list, nested lists or objects. On the Cloud channel an error of Meta's Graph API comes as HTTP 201
without a `key`. Some permanent-looking statuses are transient (400 "Connection Closed"), and after
a time-out nobody knows: for a send, that is a case of its own.

Where a send fails says whether it can have left, as Evolution's source (2.3.6) shows:

- what it refuses by itself comes as a sentence or as a list of them: nothing was sent;
- what goes wrong while it sends, it catches and answers as 400 with the error's name in front
  (`Error: Timed Out`, `TypeError: …`, `PrismaClient…`). The phone may have the message: it is
  stored, and the answer made, only afterwards. On the Cloud channel a TypeError is what is left of
  a request to Meta without an answer;
- what goes wrong while it gets the media ready comes with the status of the media's own server, or
  as 500: nothing was sent.
"""

import math
import re
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

import httpx

from router.outbound.answers import count_values, read_json
from router.outbound.bounds import AnswerTooLong
from router.outbound.checked import AddressRefused
from router.whatsapp.clean import clean
from router.whatsapp.depth import too_deep

# Meta's error codes that mean "try later": throttling, outages, temporary blocks. From the page
# "Error codes" of the WhatsApp Cloud API's documentation. Every other code of a send is for good.
_GRAPH_TRANSIENT = frozenset(
    {1, 2, 4, 80007, 130429, 131000, 131016, 131048, 131056, 131057, 133004}
)
# Those of what the message is (a parameter, its type, its media), not of who writes to whom.
_GRAPH_OF_MESSAGE = frozenset({100, 131008, 131009, 131051, 131053})
# What Evolution, or a proxy before it, refuses of what is posted: too large, not of this kind.
_OF_MESSAGE = frozenset({413, 415, 422})
# The line to WhatsApp is down: Baileys says so before it writes anything.
_CLOSED = ("connection closed", "connection lost", "not connected", "stream errored")
# An error that was thrown while Evolution worked, by its name: no refusal.
_THROWN = re.compile(r"\b\w*Error: |\bTimed Out\b|prisma|Cannot read propert", re.IGNORECASE)
# What WhatsApp refuses when it is asked about the recipient, before anything is sent.
_WHATSAPP_REFUSES = ("error: forbidden", "error: item-not-found", "error: not-acceptable")
# Baileys reads it of the quoted message, before anything is sent.
_NO_QUOTE = "(reading 'fromMe')"
_NOBODY = "is not on WhatsApp"
# The media's server answered so, and Evolution passes the status on as its own.
_MEDIA_STATUS = re.compile(r"Request failed with status code (\d{3})")
_MEDIA_TRANSIENT = frozenset({408, 425, 429})
_MEDIA_UNUSABLE = (
    *("unsupported image format", "Failed to fetch stream from"),
    "File or buffer is undefined",  # a channel that takes voices as uploaded files alone
)
# Where the media, or Meta's place for it, cannot be reached. An object for a text is what Evolution
# makes of Meta's refusal of an upload, whose reason it swallows.
_MEDIA_AWAY = (
    *("fetch failed", "ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNRESET"),
    *("(reading 'data')", "[object Object]"),
)
_WITHOUT_MEDIA = ("sendText", "sendReaction", "sendLocation", "sendContact", "sendPoll")
_LONGEST_SAID = 2000  # characters of an error that are kept
_LONGEST_ID = 500  # characters of a message's id; the Cloud API's have some 70
DEEPEST = 200
"""Objects and lists inside each other; a quote of a quote has some 20."""
MOST_OF_A_WORD = 20_000
"""Values of an answer that only says what became of a call: a thumbnail is one for each byte."""
REPEATS = 3
"""Times that the answer to a send may repeat it: on the Cloud channel a media stands in it, with
webhookBase64 twice; an error of Evolution's database shows all that was to be stored."""
# Meta repeats a malformed access token in its error.
_META_TOKEN = re.compile(r"\bEAA\w{8,}")


class EvolutionError(Exception):
    """A call of Evolution did not do what it was made for; the text says what Evolution said."""


class EvolutionRefused(EvolutionError):
    """It will not work however often it is tried: a bad key, no such instance, no such number."""


class NotOnWhatsApp(EvolutionRefused):
    """Nobody has WhatsApp at this number."""


class MessageRefused(EvolutionRefused):
    """This message is refused for what it is, however often it is tried; another one may pass."""


class MediaRefused(MessageRefused):
    """The media of a send cannot be used: its URL does not give it, or it is not what it claims."""


class AddressNotAllowed(EvolutionRefused):
    """The server's URL leads to where no tenant's URL may: nothing was sent there."""


class EvolutionAway(EvolutionError):
    """It did certainly not happen, and may work later. `retry_after` in seconds, if it was said."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MediaAway(EvolutionAway):
    """The media of a send cannot be had now, or be handed on; a message without it may pass."""


class AnswerTooLarge(EvolutionAway):
    """The answer is longer, or has more values, than is read: it may be asked for in parts.

    `wa_id` names the one message that it was about, where that can be seen; `weight` tells what it
    took all the same, as a page's does.
    """

    wa_id: str | None = None
    weight: int = 0


class SendInDoubt(EvolutionError):
    """A send may have reached the phone: its answer was lost, or makes no sense."""


def judge_answer(response: httpx.Response, *, is_send: bool) -> EvolutionError | None:
    """Return what a finished answer means as an error, or None where it is none."""
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
    """Return what it means that no whole answer came."""
    what = f"{type(error).__name__} {error}".strip()
    match error:
        case AddressRefused():
            return AddressNotAllowed(f"the server's URL is not allowed: {error}")
        case httpx.UnsupportedProtocol():
            return EvolutionRefused(f"the server's URL is not right: {error}")
        case httpx.LocalProtocolError():  # it quotes the header that it would not write
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
    """Return what it means that the media was not ready to be sent, or None if it is not that."""
    if status in (400, 500) and any(words in said for words in _MEDIA_UNUSABLE):
        return MediaRefused(f"the media is of no use: {said}")
    if status == 400 and _THROWN.search(said):
        return None  # such as a transcription that failed: the message is sent by then
    if found := _MEDIA_STATUS.search(said):
        answered = int(found[1])
        text = f"the media's URL answered with an error: {said}"
        if answered in _MEDIA_TRANSIENT or answered >= 500:
            return MediaAway(text)
        return MediaRefused(text)
    if status == 500 and any(words in said for words in _MEDIA_AWAY):
        return MediaAway(f"the media cannot be fetched, or not be handed to Meta: {said}")
    return None


def _has_no_media(request: httpx.Request) -> bool:
    return any(f"/message/{method}/" in request.url.path for method in _WITHOUT_MEDIA)


def _of_no_media(judged: EvolutionError, said: str) -> EvolutionError:
    """Return what such words mean of a text: what Evolution itself asks is away, or refuses."""
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


def most_values(response: httpx.Response) -> int:
    """Return how many values may be read of the answer to a send, which may repeat it."""
    if count_values(response.content) <= MOST_OF_A_WORD:
        return MOST_OF_A_WORD  # to count those of a large request takes long
    return MOST_OF_A_WORD + REPEATS * count_values(response.request.content)


def _json(response: httpx.Response, *, is_send: bool) -> tuple[Any, bool]:
    """Return what the answer says, and whether it is JSON that is too large or deep to be read."""
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
