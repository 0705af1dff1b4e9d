"""Posts a marked probe as Evolution would post a webhook: to the stored URL, with its headers.

Nothing is sent on WhatsApp.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import jwt

from router.evolution.client import WebhookSettings
from router.intake.readers.probes import PROBE_EVENT, probe_body

_TOKEN_SECONDS = 600  # like Evolution's own tokens
_HMAC_BLOCK_BYTES = 64
_MOST_BYTES = 4096  # of an answer
# Headers of the connection, which are ignored if they are stored: httpx sets the right ones.
_OWN_HEADERS = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "transfer-encoding", "te"),
        *("upgrade", "expect", "trailer", "keep-alive", "accept-encoding"),
    }
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One event that is recorded and changes nothing, in the form in which Evolution posts."""

    mark: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """The response: its status, and the code of our own error if it has one."""

    status: int
    code: str | None


def make_probe(found: WebhookSettings, name: str) -> Probe:
    """Make a probe for the instance `name`, with its own mark. Raises ValueError."""
    mark = uuid4().hex
    url = f"{found.url}/{_as_in_a_path(PROBE_EVENT)}" if found.by_events else found.url
    return Probe(mark, url, _sent_headers(found.headers, time.time()), probe_body(name, mark))


async def post_probe(http: httpx.AsyncClient, probe: Probe) -> Answer:
    """Post the probe once. Raises httpx.HTTPError, and ValueError if no valid request results."""
    try:
        request = http.build_request(
            "POST",
            probe.url,
            json=dict(probe.body),
            headers={**probe.headers, "Accept-Encoding": "identity"},
        )
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    response = await http.send(request, stream=True)
    try:
        return Answer(response.status_code, _code(await _beginning(response)))
    finally:
        await response.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    read = b""
    async for chunk in response.aiter_raw(_MOST_BYTES):
        read += chunk
        if len(read) >= _MOST_BYTES:
            break
    return read[:_MOST_BYTES]


def _code(body: bytes) -> str | None:
    """Return the code of an error if the body is an error of this program."""
    try:
        code = httpx.Response(200, content=body).json()["error"]["code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return code if isinstance(code, str) and code.replace("_", "").isalpha() else None


def _as_in_a_path(event: str) -> str:
    return event.replace(".", "-").replace("_", "-")


def _sent_headers(stored: Mapping[str, object], now: float) -> dict[str, str]:
    """Return the headers as Evolution sends them: `jwt_key` becomes a token, the rest stays."""
    headers = {str(name): str(value) for name, value in stored.items()}
    key = headers.pop("jwt_key", None)
    if key is not None:
        headers["Authorization"] = f"Bearer {_token(key, int(now))}"
    return {name: text for name, text in headers.items() if name.lower() not in _OWN_HEADERS}


def _token(key: str, now: int) -> str:
    claims = {"iat": now, "exp": now + _TOKEN_SECONDS, "app": "evolution", "action": "webhook"}
    # HMAC itself pads a short key with zeros. Padding it here only avoids the library's warning.
    padded = key.encode("utf-8", "surrogatepass").ljust(_HMAC_BLOCK_BYTES, b"\x00")
    try:
        return jwt.encode(claims, padded, algorithm="HS256")
    except jwt.PyJWTError as error:
        raise ValueError("no token can be made of its jwt_key") from error
