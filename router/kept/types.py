"""The media type of a kept file for downloads, from its bytes. Pure."""

from router.whatsapp.file_types import type_of_file

UNKNOWN = "application/octet-stream"
_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
}
_OFFICE = {
    b"word/": ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    b"xl/": ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}
_ENDINGS = {kind: ending for ending, kind in (*_TYPES.items(), *_OFFICE.values())}


def media_type_of(content: bytes) -> str:
    """Return a media type that no browser executes; UNKNOWN if it is not recognised."""
    if (found := type_of_file(content)) is not None:
        return _TYPES[found.ending]
    if content.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in content:
        for folder, (_, kind) in _OFFICE.items():
            if folder in content:
                return kind
    return UNKNOWN


def file_name_of(message_id: int, media_type: str) -> str:
    """Return the name for a download. No part of it comes from the contact."""
    return f"message-{message_id}.{_ENDINGS.get(media_type, 'bin')}"
