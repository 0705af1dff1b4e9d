"""The media of a send: where it comes from, and what Evolution makes of it.

Media is given as a URL or in base64. URLs are never fetched: `Instance.media_at` says what is there
(bytes, or an error's status). For other URLs the content is made up from the URL, in the type of
its name. Media that Evolution converts (pictures to JPEG, voices to ogg, stickers to webp) gets new
bytes, so that its hash differs from the given one.
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
    """Media as given in a send. `source` identifies it: its URL, or the hash of its bytes."""

    url: str | None
    raw: bytes

    @property
    def source(self) -> str:
        """A short text that identifies the media."""
        return self.url or hashlib.sha256(self.raw).hexdigest()


def is_url(value: Any) -> bool:
    """Return whether class-validator accepts it as a URL: its host must contain a dot."""
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def is_base64(value: Any) -> bool:
    """Return whether class-validator accepts it as base64: it does not accept a data: URL."""
    return isinstance(value, str) and bool(value) and _BASE64.fullmatch(value) is not None


def given_media(value: Any, *, refusal: str = _NOT_ONE) -> Given:
    """Return the media in a body. Raises Refusal if it is neither a URL nor base64."""
    if is_url(value):
        return Given(value, b"at " + str(value).encode())
    if not is_base64(value):
        raise refused(refusal)
    try:
        return Given(None, base64.b64decode(value))
    except binascii.Error:  # not known to happen; Buffer.from never fails
        return Given(None, str(value).encode())


def given_voice(value: Any) -> Given:
    """Return the voice message in a body."""
    return given_media(value, refusal=_NOT_A_VOICE)


def fetched(given: Given, media_at: MediaAt, *, prefix: str) -> bytes:
    """Return the bytes. An error is Evolution's own 500, with `prefix` in its text."""
    found = _found(given, media_at)
    if isinstance(found, int):
        text = f"{prefix}Request failed with status code {found}"
        raise Refusal(500, [text])
    return found


def streamed(given: Given, media_at: MediaAt, *, status: int = 500) -> bytes:
    """Return the bytes, as fetched by Baileys itself; in a send, its error becomes a 400."""
    found = _found(given, media_at)
    if isinstance(found, int):
        raise Refusal(status, [f"Error: Failed to fetch stream from {given.url}"])
    return found


def fetched_bare(given: Given, media_at: MediaAt) -> bytes:
    """Return the bytes. An error status of the URL's server becomes the answer's status."""
    found = _found(given, media_at)
    if isinstance(found, int):
        text = f"Request failed with status code {found}"
        raise Refusal(found, text, error="Internal Server Error")
    return found


def picture(given: Given, raw: bytes, *, refusal: Refusal) -> bytes:
    """Return a picture's bytes, converted to JPEG or webp. Raises `refusal` for other bytes."""
    if given.url is None and not raw.startswith(_PICTURES):
        raise refusal
    return b"remade " + hashlib.sha256(raw).digest() + raw


def no_picture(*, wrapped: bool) -> Refusal:
    """Return the error for bytes that are no picture, of sendMedia (`wrapped`) or sendSticker."""
    return Refusal(500, [f"Error: {_NO_PICTURE}"] if wrapped else _NO_PICTURE)


def file_name_in(url: str) -> str:
    """Return the name for a document without one: cut at the first dot."""
    found = _FILE_IN_URL.match(url)
    if found is None:
        raise Refusal(500, ["TypeError: Cannot read properties of null (reading '1')"])
    return found[1]


def type_of(name: str | None) -> str | None:
    """Return the MIME type for the extension of a name or a URL."""
    if name is None:
        return None
    found = _TYPES.guess_type(name.partition("?")[0])[0]
    return "video/mp4" if found == "application/mp4" else found


def kept_media(raw: bytes, mimetype: str, at: float) -> Json:
    """Return the fields of all media in Baileys' messages. They are unique for each send."""
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
