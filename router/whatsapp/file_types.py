"""Determines the type with which a file is sent, by its content and never by its name. Pure."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["image", "sticker", "video", "audio", "document"]
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class FileType:
    """The kind of message for a file, its extension, and WhatsApp's maximum size in bytes."""

    kind: Kind
    ending: str
    most: int


_JPEG = FileType("image", "jpg", 5 * _MB)
_PNG = FileType("image", "png", 5 * _MB)
_WEBP = FileType("sticker", "webp", 500_000)
_MP4 = FileType("video", "mp4", 16 * _MB)
_M4A = FileType("audio", "m4a", 16 * _MB)
_MP3 = FileType("audio", "mp3", 16 * _MB)
_OGG = FileType("audio", "ogg", 16 * _MB)
_PDF = FileType("document", "pdf", 16 * _MB)


def type_of_file(content: bytes) -> FileType | None:
    """Return a file's type, or None if it cannot be sent."""
    start = content[:16]
    if start.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _WEBP
    if start[4:8] == b"ftyp":
        return _M4A if start[8:11] == b"M4A" else _MP4
    if start.startswith(b"ID3") or start[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return _MP3
    if start.startswith(b"OggS"):
        return _OGG
    return _PDF if start.startswith(b"%PDF-") else None
