"""What a human of the business sends, as Evolution is asked for it. Pure."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from router.sending.outgoing import TEXT_PATH

MediaKind: TypeAlias = Literal["image", "video", "audio", "voice", "document", "sticker"]
_MEDIA_PATH = "message/sendMedia"
_ENDINGS: Mapping[str, str] = {"audio": "mp3", "document": "bin"}
_NAMED = ("audio", "document")  # Evolution tells what they are by the ending of their name


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


def why_no_voice(content: bytes) -> str | None:
    """Return why the bytes are no sound, if they are none that can be told.

    Of what it cannot read Evolution makes an empty voice message, sends that, and says that all is
    well.
    """
    is_sound = content.startswith(_SOUNDS) or content[4:8] == b"ftyp"
    return None if is_sound else "it is no sound that can be told: give OGG, MP3, M4A, WAV or WebM"


_SOUNDS = (
    *(b"OggS", b"ID3", b"RIFF", b"fLaC", b"\x1a\x45\xdf\xa3", b"#!AMR"),
    *(bytes((0xFF, second)) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xF1, 0xF9)),
)
