"""What an answer of Evolution, or the lack of one, means for a call and for a send."""

from typing import Any

import httpx
import pytest

from router.evolution.errors import (
    EvolutionAway,
    EvolutionError,
    EvolutionRefused,
    MediaAway,
    MediaRefused,
    MessageRefused,
    NotOnWhatsApp,
    SendInDoubt,
    judge_answer,
    judge_failure,
)
from tests.for_each import for_each

KEY = "key-that-nobody-may-read-0001"
META_TOKEN = "EAAmadeUpMetaToken0001"
SENT = {
    "key": {"remoteJid": "5511988880001@s.whatsapp.net", "fromMe": True, "id": "3EB0A1B2C3D4"},
    "pushName": "Você",
    "status": "PENDING",
    "message": {"conversation": "Olá!"},
    "messageType": "conversation",
    "messageTimestamp": 1_795_409_838,
    "source": "web",
}


TYPE_ERROR = "TypeError: Cannot read properties of undefined (reading '{}')"
PRISMA = "\nInvalid `this.prismaRepository.message.{}()` invocation in\n/evolution/dist/main.js"


def error(status: int, message: Any) -> dict[str, Any]:
    return {"status": status, "error": "Error", "response": {"message": message}}


def thrown(status: int, message: str) -> dict[str, Any]:
    """What Evolution makes of an error that it did not throw itself: it takes over the status."""
    return error(status, message) | {"error": "Internal Server Error"}


def graph(code: int, text: str = "Something") -> dict[str, Any]:
    return {"message": f"(#{code}) {text}", "type": "OAuthException", "code": code}


def answer(
    status: int, body: Any = None, *, content: bytes | None = None, **headers: str
) -> httpx.Response:
    return httpx.Response(
        status,
        json=body if content is None else None,
        content=content,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        request=httpx.Request("POST", "http://evolution.example/x", headers={"apikey": KEY}),
    )


REFUSED, AWAY, IN_DOUBT = EvolutionRefused, EvolutionAway, SendInDoubt

# name: the answer, what it means for a send, for any other call, and what its text tells
ANSWERS: dict[str, tuple[httpx.Response, type[EvolutionError] | None, Any, str]] = {
    "sent": (answer(201, SENT), None, None, ""),
    "bad key": (answer(401, error(401, "Unauthorized")), REFUSED, REFUSED, "401: Unauthorized"),
    "forbidden": (answer(403, error(403, ["Forbidden"])), REFUSED, REFUSED, "403: Forbidden"),
    "no such instance": (
        answer(404, error(404, ['The "nope" instance does not exist'])),
        REFUSED,
        REFUSED,
        '404: The "nope" instance does not exist',
    ),
    "a property is missing": (
        answer(400, error(400, [['instance requires property "text"', "and another"]])),
        MessageRefused,
        REFUSED,
        '400: instance requires property "text"; and another',
    ),
    "the number is not on WhatsApp": (
        answer(
            400,
            error(
                400,
                [{"jid": "5500000004321@s.whatsapp.net", "exists": False, "number": "5500004321"}],
            ),
        ),
        NotOnWhatsApp,
        NotOnWhatsApp,
        "400: the number …4321 is not on WhatsApp",
    ),
    "the connection is closed": (
        answer(400, error(400, ["Error: Connection Closed"])),
        AWAY,
        AWAY,
        "400: Error: Connection Closed",
    ),
    "timed out while sending": (
        answer(400, error(400, ["Error: Timed Out"])),
        IN_DOUBT,
        AWAY,
        "400: Error: Timed Out",
    ),
    "sent but not stored": (
        answer(400, error(400, ["PrismaClientKnownRequestError: no connection"])),
        IN_DOUBT,
        AWAY,
        "Prisma",
    ),
    "timed out, as a sentence of its own": (
        answer(400, error(400, ["Timed Out"])),
        IN_DOUBT,
        AWAY,
        "Timed Out",
    ),
    "Evolution cannot reach Meta": (
        answer(400, error(400, [TYPE_ERROR.format("message")])),
        IN_DOUBT,
        AWAY,
        "TypeError",
    ),
    "Meta answered something else than a message": (
        answer(400, error(400, [TYPE_ERROR.format("0")])),
        IN_DOUBT,
        AWAY,
        "TypeError",
    ),
    "it crashed over null": (
        answer(400, error(400, ["TypeError: Cannot read properties of null (reading 'key')"])),
        IN_DOUBT,
        AWAY,
        "TypeError",
    ),
    "it crashed somewhere": (
        answer(500, error(500, "Cannot read properties of undefined (reading 'textMessage')")),
        IN_DOUBT,
        AWAY,
        "textMessage",
    ),
    "sent but not stored, as Prisma tells it": (
        answer(400, error(400, [PRISMA.format("create")])),
        IN_DOUBT,
        AWAY,
        "prismaRepository",
    ),
    "a search that the database does not take": (
        answer(500, error(500, PRISMA.format("count"))),
        IN_DOUBT,
        AWAY,
        "prismaRepository",
    ),
    "the socket failed": (
        answer(400, error(400, ["Error: write EPIPE"])),
        IN_DOUBT,
        AWAY,
        "write EPIPE",
    ),
    "WhatsApp refuses the recipient": (
        answer(400, error(400, ["Error: not-acceptable"])),
        REFUSED,
        REFUSED,
        "not-acceptable",
    ),
    "a quote without a key": (
        answer(400, error(400, [TYPE_ERROR.format("fromMe")])),
        MessageRefused,
        REFUSED,
        "the quoted message has no key",
    ),
    "a quote without a key, on Cloud": (
        answer(400, error(400, ["Message not found"])),
        MessageRefused,
        REFUSED,
        "Message not found",
    ),
    "the channel has no such send": (
        answer(400, error(400, ["Method not available on WhatsApp Business API"])),
        MessageRefused,
        REFUSED,
        "Method not available",
    ),
    "the voice or the sticker is not at its address": (
        answer(404, thrown(404, "Request failed with status code 404")),
        MediaRefused,
        REFUSED,
        "status code 404",
    ),
    "the voice's server wants a key": (
        answer(401, thrown(401, "Request failed with status code 401")),
        MediaRefused,
        REFUSED,
        "status code 401",
    ),
    "the voice's server is busy": (
        answer(429, thrown(429, "Request failed with status code 429")),
        MediaAway,
        AWAY,
        "status code",
    ),
    "the voice's server is broken": (
        answer(503, thrown(503, "Request failed with status code 503")),
        MediaAway,
        AWAY,
        "status code",
    ),
    "the voice's address is not right": (
        answer(400, thrown(400, "Request failed with status code 400")),
        MediaRefused,
        REFUSED,
        "status code 400",
    ),
    "a transcription failed after the voice was sent": (
        answer(400, error(400, ["AxiosError: Request failed with status code 401"])),
        IN_DOUBT,
        AWAY,
        "AxiosError",
    ),
    "the voice's server is not there": (
        answer(500, thrown(500, "connect ECONNREFUSED 127.0.0.1:9")),
        MediaAway,
        AWAY,
        "ECONNREFUSED",
    ),
    "the picture is not at its address": (
        answer(500, error(500, ["AxiosError: Request failed with status code 404"])),
        MediaRefused,
        AWAY,
        "status code 404",
    ),
    "the picture's server is broken": (
        answer(500, error(500, ["AxiosError: Request failed with status code 502"])),
        MediaAway,
        AWAY,
        "502",
    ),
    "the video is not at its address": (
        answer(500, error(500, ["Error: Failed to fetch stream from http://127.0.0.1:9/x.mp4"])),
        MediaRefused,
        AWAY,
        "Failed to fetch stream",
    ),
    "a voice that is not to be converted is not at its address": (
        answer(400, error(400, ["Error: Failed to fetch stream from http://127.0.0.1:9/x.ogg"])),
        MediaRefused,
        AWAY,
        "Failed to fetch stream",
    ),
    "the document's server is not there": (
        answer(500, error(500, ["TypeError: fetch failed"])),
        MediaAway,
        AWAY,
        "fetch failed",
    ),
    "it is no picture": (
        answer(500, error(500, ["Error: Input buffer contains unsupported image format"])),
        MediaRefused,
        AWAY,
        "unsupported image format",
    ),
    "the sticker is no picture": (
        answer(500, thrown(500, "Input buffer contains unsupported image format")),
        MediaRefused,
        AWAY,
        "unsupported image format",
    ),
    "a voice on the EVOLUTION channel": (
        answer(500, error(500, "File or buffer is undefined.")),
        MediaRefused,
        AWAY,
        "File or buffer",
    ),
    "Meta refuses the upload": (
        answer(500, error(500, ["[object Object]"])),
        MediaAway,
        AWAY,
        "[object Object]",
    ),
    "Meta cannot be reached for the upload": (
        answer(500, error(500, [TYPE_ERROR.format("data")])),
        MediaAway,
        AWAY,
        "(reading 'data')",
    ),
    "too many": (answer(429, error(429, "Slow down")), AWAY, AWAY, "429: Slow down"),
    "request time-out": (answer(408, error(408, "late")), IN_DOUBT, AWAY, "408: late"),
    "broken": (answer(500, error(500, "Internal")), IN_DOUBT, AWAY, "500: Internal"),
    "a proxy's page": (
        answer(502, content=b"<html>Bad Gateway</html>"),
        IN_DOUBT,
        AWAY,
        "502: Bad Gateway",
    ),
    "no licence": (
        answer(503, {"error": "service not activated", "code": "LICENSE_REQUIRED"}),
        IN_DOUBT,
        AWAY,
        "503: service not activated",
    ),
    "a redirect": (answer(301, content=b""), REFUSED, REFUSED, "URL is not right"),
    "Meta refuses": (
        answer(201, graph(131047, "Re-engagement message")),
        REFUSED,
        None,
        "Re-engagement message",
    ),
    "Meta refuses the media": (
        answer(201, graph(131053, "Media upload error")),
        MessageRefused,
        None,
        "Media upload error",
    ),
    "it is too large": (answer(413, error(413, "too large")), MessageRefused, REFUSED, "413"),
    "Meta is busy": (answer(201, graph(130429, "Rate limit hit")), AWAY, None, "130429"),
    "Meta repeats its token": (
        answer(201, graph(190, f"Malformed access token {META_TOKEN}")),
        REFUSED,
        None,
        "Malformed access token …",
    ),
    "a server repeats the key": (
        answer(401, error(401, f"unknown key {KEY}")),
        REFUSED,
        REFUSED,
        "unknown key …",
    ),
    "no id": (answer(201, {"key": {"fromMe": True}}), IN_DOUBT, None, "without the message's id"),
    "key is no object": (answer(201, {"key": "3EB0"}), IN_DOUBT, None, "without the message's id"),
    "null": (answer(201, None, content=b"null"), IN_DOUBT, None, "not a JSON object"),
    "a list": (answer(201, []), IN_DOUBT, None, "not a JSON object"),
    "a page": (answer(200, content=b"<html>"), IN_DOUBT, None, "not a JSON object"),
    "nothing": (answer(200, content=b""), IN_DOUBT, None, "not a JSON object"),
}


@for_each("name", ANSWERS)
@for_each("is_send", [True, False], ids=["a send", "another call"])
def test_every_answer_means_one_thing(name: str, is_send: bool) -> None:
    response, for_a_send, for_another, text = ANSWERS[name]
    expected = for_a_send if is_send else for_another
    judged = judge_answer(response, is_send=is_send)
    if expected is None:
        assert judged is None
        return
    assert type(judged) is expected
    assert text in str(judged)


@pytest.mark.parametrize(
    "name", [name for name, (_, for_a_send, *_) in ANSWERS.items() if for_a_send is MediaRefused]
)
def test_what_the_media_is_to_blame_for_is_told_as_that(name: str) -> None:
    assert "the media" in str(judge_answer(ANSWERS[name][0], is_send=True))


@for_each("name", ANSWERS)
def test_no_key_stands_in_an_errors_text(name: str) -> None:
    text = str(judge_answer(ANSWERS[name][0], is_send=True))
    assert KEY not in text
    assert META_TOKEN not in text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("Mon, 23 Nov 2026 08:00:00 GMT", None),
    ],
)
def test_a_429_says_how_long_to_wait_if_it_is_a_number(header: str, seconds: float | None) -> None:
    judged = judge_answer(answer(429, error(429, "x"), Retry_After=header), is_send=True)
    assert isinstance(judged, EvolutionAway)
    assert judged.retry_after == seconds


@pytest.mark.parametrize(
    ("failure", "for_a_send", "for_another"),
    [
        (httpx.ConnectError("refused"), AWAY, AWAY),
        (httpx.ConnectTimeout("late"), AWAY, AWAY),
        (httpx.PoolTimeout("full"), AWAY, AWAY),
        (httpx.ReadTimeout("late"), IN_DOUBT, AWAY),
        (httpx.WriteTimeout("late"), IN_DOUBT, AWAY),
        (httpx.ReadError("cut"), IN_DOUBT, AWAY),
        (httpx.WriteError("cut"), IN_DOUBT, AWAY),
        (httpx.RemoteProtocolError("disconnected"), IN_DOUBT, AWAY),
        (httpx.DecodingError("garbage"), IN_DOUBT, AWAY),
        (httpx.UnsupportedProtocol("no http://"), REFUSED, REFUSED),
        (httpx.LocalProtocolError(f"Illegal header value b'{KEY}'"), REFUSED, REFUSED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_a_lost_answer_leaves_a_send_in_doubt_unless_nothing_can_have_been_written(
    failure: httpx.RequestError,
    for_a_send: type[EvolutionError],
    for_another: type[EvolutionError],
) -> None:
    assert type(judge_failure(failure, is_send=True)) is for_a_send
    assert type(judge_failure(failure, is_send=False)) is for_another
    assert KEY not in str(judge_failure(failure, is_send=True))


@pytest.mark.parametrize("method", ["sendText", "sendReaction", "sendLocation", "sendContact"])
@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("connect ECONNREFUSED 10.0.0.1:6379", EvolutionAway),
        ("fetch failed", EvolutionAway),
        ("Request failed with status code 503", EvolutionAway),
        ("Request failed with status code 401", EvolutionRefused),
    ],
)
def test_what_says_so_of_no_media_is_evolution_itself(
    method: str, words: str, meaning: type[EvolutionError]
) -> None:
    response = answer(500, error(500, words))
    response.request = httpx.Request("POST", f"http://evolution.example/message/{method}/shop")
    assert type(judge_answer(response, is_send=True)) is meaning
    response.request = httpx.Request("POST", "http://evolution.example/message/sendMedia/shop")
    assert isinstance(judge_answer(response, is_send=True), MediaAway | MediaRefused)
