"""A message that a human of the business sends, as a request to Evolution. Pure."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from router.sending.outgoing import TEXT_PATH

MediaKind: TypeAlias = Literal["image", "video", "audio", "voice", "document", "sticker"]
_MEDIA_PATH = "message/sendMedia"
_ENDINGS: Mapping[str, str] = {"audio": "mp3", "document": "bin"}
_NAMED = ("audio", "document")  # Evolution derives their type from their file name's extension


def text_by_hand(text: str) -> tuple[str, dict[str, Any]]:
    """Return the path and body of a text."""
    return TEXT_PATH, {"text": text}


def media_by_hand(
    kind: MediaKind, content: str, *, file_name: str | None = None, caption: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the path and body of a media; `content` is base64.

    A voice message and a sticker have no caption.
    """
    if kind == "voice":
        return "message/sendWhatsAppAudio", {"audio": content}
    if kind == "sticker":
        return "message/sendSticker", {"sticker": content}
    body: dict[str, Any] = {"mediatype": kind, "media": content}
    if caption:
        body["caption"] = caption
    if kind in _NAMED:
        body["fileName"] = file_name or f"{kind}.{_ENDINGS[kind]}"
    return _MEDIA_PATH, body
