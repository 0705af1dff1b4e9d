"""The ways in which a call of Evolution's REST API fails, by name.

`shop.fail("sendText", failures.TAKEN_THEN_CUT)` plans the failure of the next calls. TAKEN in a
name means that the call did its work: the message is on the phone.
"""

from typing import Any

from loopback.evolution.answers import error_body
from loopback.faults import Fault, altered, cut, hang, slow, wrong_answer


def crash(reading: str) -> str:
    """Return the text of an error in Evolution's own code."""
    return f"TypeError: Cannot read properties of undefined (reading '{reading}')"


def prisma(call: str) -> str:
    """Return the beginning of an error text of Evolution's database client."""
    return f"\nInvalid `this.prismaRepository.message.{call}()` invocation in\n/evolution/dist"


NEVER_ANSWERED = hang()
"""Nothing is accepted, and no answer comes: the client's time-out ends the call."""
TAKEN_NEVER_ANSWERED = hang(after=True)
CUT = cut()
"""The connection is cut, and nothing was accepted."""
TAKEN_THEN_CUT = cut(after=True)
CONNECTION_CLOSED = wrong_answer(400, error_body(400, ["Error: Connection Closed"]))
"""The line to WhatsApp is down for a moment: transient, although the status is 400."""
BAD_KEY = wrong_answer(401, error_body(401, "Unauthorized"))
NO_INSTANCE = wrong_answer(404, error_body(404, ['The "shop" instance does not exist']))
BROKEN = wrong_answer(500, error_body(500, "Internal Server Error"))
TAKEN_THEN_BROKEN = wrong_answer(500, error_body(500, "Internal Server Error"), after=True)
UNAVAILABLE = wrong_answer(503, error_body(503, "Service Unavailable"))
TIMED_OUT = wrong_answer(400, error_body(400, ["Error: Timed Out"]))
"""The socket to WhatsApp did not answer. Nothing was sent, but the caller cannot know that."""
TAKEN_THEN_TIMED_OUT = wrong_answer(400, error_body(400, ["Error: Timed Out"]), after=True)
META_AWAY = wrong_answer(400, error_body(400, [crash("message")]))
"""WHATSAPP-BUSINESS cannot reach Meta, and Evolution crashes on the missing answer."""
TAKEN_THEN_META_AWAY = wrong_answer(400, error_body(400, [crash("message")]), after=True)
TAKEN_THEN_NOT_STORED = wrong_answer(400, error_body(400, [prisma("create")]), after=True)
"""The message was sent, but Evolution's database was away."""
MEDIA_NOT_FOUND = wrong_answer(
    404,
    error_body(404, "Request failed with status code 404") | {"error": "Internal Server Error"},
)
"""There is nothing at the URL of a voice or a sticker; its server's status becomes Evolution's."""
UPLOAD_REFUSED = wrong_answer(500, error_body(500, ["[object Object]"]))
"""Meta refused an upload of media."""
TAKEN_THEN_UNREADABLE = wrong_answer(201, None, after=True)
"""A 201 whose body is not a message (null), although the message was sent."""


def too_many(retry_after: float) -> Fault:
    """Return the 429 of a proxy, with its Retry-After in seconds."""
    body = error_body(429, "Too Many Requests")
    return wrong_answer(429, body, {"Retry-After": f"{retry_after:g}"})


def graph_error(code: int = 131047, message: str = "Re-engagement message") -> Fault:
    """Return what WHATSAPP-BUSINESS answers when Meta refuses: a 201 without a key."""
    details = {"messaging_product": "whatsapp", "details": "Message failed to send"}
    body = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}
    return wrong_answer(201, body | {"error_data": details, "fbtrace_id": "x"})


def not_on_whatsapp(number: str) -> Fault:
    """Return the 400 for a number that is not on WhatsApp."""
    absent = {"jid": f"{number}@s.whatsapp.net", "exists": False, "number": number}
    return wrong_answer(400, error_body(400, [absent]))


def late(seconds: float) -> Fault:
    """Return a correct answer that comes late."""
    return slow(seconds)


def answered_as(jid: str) -> Fault:
    """Return a correct answer with another JID than the one that was written to."""

    def rename(body: Any) -> Any:
        return body | {"key": body["key"] | {"remoteJid": jid}}

    return altered(rename)


BY_NAME = {
    "never_answered": NEVER_ANSWERED,
    "taken_never_answered": TAKEN_NEVER_ANSWERED,
    "cut": CUT,
    "taken_then_cut": TAKEN_THEN_CUT,
    "connection_closed": CONNECTION_CLOSED,
    "bad_key": BAD_KEY,
    "broken": BROKEN,
    "taken_then_broken": TAKEN_THEN_BROKEN,
    "unavailable": UNAVAILABLE,
    "graph_error": graph_error(),
    "timed_out": TIMED_OUT,
    "taken_then_timed_out": TAKEN_THEN_TIMED_OUT,
    "meta_away": META_AWAY,
    "taken_then_meta_away": TAKEN_THEN_META_AWAY,
    "taken_then_not_stored": TAKEN_THEN_NOT_STORED,
    "media_not_found": MEDIA_NOT_FOUND,
    "upload_refused": UPLOAD_REFUSED,
}
"""The failures by name, for the control over HTTP."""
