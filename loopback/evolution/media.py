"""The media of a send: where it comes from, and what Evolution makes of it.

Media is given as a URL or in base64. URLs are never fetched from here: what stands at one is what
`Instance.media_at` says of it (bytes, or the status of an error), else something made up from the
URL itself, of the kind that its name promises. What is not sent as it was given (pictures become
JPEG, voices ogg, stickers webp) gets new bytes, so that its hash is not that of what was given.
"""

import base64
import binascii
import hashlib
import mimetypes
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loopback.evolution.answers import Refusal, refused
from loopback.evolution.chats import Json

_TYPES = mimetypes.MimeTypes()
_TYPES.add_type("image/webp", ".webp")
_TYPES.add_type("audio/ogg", ".ogg")
_TYPES.add_type("audio/mp4", ".m4a")
_URL = re.compile(
    r"(?:(?:https?|ftp)://)?(?:[^\s/?#@]+@)?"
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[^\s/?#:.@]+\.)+[a-z\u00a1-\uffff]{2,})"
    r"(?::\d{1,5})?(?:[/?#][^\s<>]*)?",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_FILE_IN_URL = re.compile(r".*/(.+?)\.")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"<svg", b"II*\x00", b"MM\x00*")
_NOT_ONE = "Owned media must be a url or base64"
_NOT_A_VOICE = "Owned media must be a url, base64, or valid file with buffer"
_NO_PICTURE = "Input buffer contains unsupported image format"

MediaAt = Mapping[str, bytes | int]


@dataclass(frozen=True, slots=True)
class Given:
    """Media as a send gave it. `source` tells it from other media: its URL, or its bytes' hash."""

    url: str | None
    raw: bytes

    @property
    def source(self) -> str:
        """What was given, in a form short enough to be compared."""
        return self.url or hashlib.sha256(self.raw).hexdigest()


def is_url(value: Any) -> bool:
    """Return whether class-validator takes it for a URL: a host without a dot is none."""
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def is_base64(value: Any) -> bool:
    """Return whether class-validator takes it for base64: a data: URL is none."""
    return isinstance(value, str) and bool(value) and _BASE64.fullmatch(value) is not None


def given_media(value: Any, *, refusal: str = _NOT_ONE) -> Given:
    """Return what a body gives as media. Raises Refusal where it is neither URL nor base64."""
    if is_url(value):
        return Given(value, b"at " + str(value).encode())
    if not is_base64(value):
        raise refused(refusal)
    try:
        return Given(None, base64.b64decode(value))
    except binascii.Error:  # no case is known, but Buffer.from never fails either
        return Given(None, str(value).encode())


def given_voice(value: Any) -> Given:
    """Return what a body gives as a voice message."""
    return given_media(value, refusal=_NOT_A_VOICE)


def fetched(given: Given, media_at: MediaAt, *, prefix: str) -> bytes:
    """Return the bytes, where Evolution's own error carries `prefix` and comes as 500."""
    found = _found(given, media_at)
    if isinstance(found, int):
        text = f"{prefix}Request failed with status code {found}"
        raise Refusal(500, [text])
    return found


def streamed(given: Given, media_at: MediaAt, *, status: int = 500) -> bytes:
    """Return the bytes as Baileys itself fetches them; within a send its error is a 400."""
    found = _found(given, media_at)
    if isinstance(found, int):
        raise Refusal(status, [f"Error: Failed to fetch stream from {given.url}"])
    return found


def fetched_bare(given: Given, media_at: MediaAt) -> bytes:
    """Return the bytes, where the status of the URL's own server becomes that of the answer."""
    found = _found(given, media_at)
    if isinstance(found, int):
        text = f"Request failed with status code {found}"
        raise Refusal(found, text, error="Internal Server Error")
    return found


def picture(given: Given, raw: bytes, *, refusal: Refusal) -> bytes:
    """Return a picture's bytes, made again as JPEG or webp; raises `refusal` if it is none."""
    if given.url is None and not raw.startswith(_PICTURES):
        raise refusal
    return b"remade " + hashlib.sha256(raw).digest() + raw


def no_picture(*, wrapped: bool) -> Refusal:
    """Return what is said of bytes that are no picture, by sendMedia (`wrapped`) or sendSticker."""
    return Refusal(500, [f"Error: {_NO_PICTURE}"] if wrapped else _NO_PICTURE)


def file_name_in(url: str) -> str:
    """Return the name that a document without one gets: cut at the first dot."""
    found = _FILE_IN_URL.match(url)
    if found is None:
        raise Refusal(500, ["TypeError: Cannot read properties of null (reading '1')"])
    return found[1]


def type_of(name: str | None) -> str | None:
    """Return the MIME type that a name's or a URL's extension stands for."""
    if name is None:
        return None
    found = _TYPES.guess_type(name.partition("?")[0])[0]
    return "video/mp4" if found == "application/mp4" else found


def kept_media(raw: bytes, mimetype: str, at: float) -> Json:
    """Return the fields that any media has in a message of Baileys: no two sends share them all."""
    path = f"/v/{secrets.token_hex(8)}.enc"
    return {
        "url": f"https://mmg.whatsapp.example{path}",
        "mimetype": mimetype,
        "fileSha256": _numbered(hashlib.sha256(raw).digest()),
        "fileLength": {"low": len(raw), "high": 0, "unsigned": True},
        "mediaKey": _numbered(secrets.token_bytes(32)),
        "fileEncSha256": _numbered(secrets.token_bytes(32)),
        "directPath": path,
        "mediaKeyTimestamp": {"low": int(at), "high": 0, "unsigned": False},
    }


def _numbered(raw: bytes) -> Json:
    return {str(place): value for place, value in enumerate(raw)}


def _found(given: Given, media_at: MediaAt) -> bytes | int:
    return given.raw if given.url is None else media_at.get(given.url, given.raw)
