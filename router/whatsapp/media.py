"""Readers of media: pictures, videos, audio, stickers, documents.

On Baileys the fields are `mimetype`, `fileLength`, `seconds`; on the Cloud channel `mime_type`,
`filename`, `voice`. The bytes (`message.base64`, thumbnails) and the keys are never read.
"""

from collections.abc import Mapping

from router.whatsapp.bounds import cut_label
from router.whatsapp.clean import JsonObject, as_line, as_number, as_text
from router.whatsapp.reading import Reader, Reading, bracketed

_MOST_OF_AN_ALBUM = 100


def _media(content: Mapping[str, object], *, ptt: bool = False) -> JsonObject:
    return {
        "mimetype": as_line(content.get("mimetype") or content.get("mime_type")) or None,
        "file_name": _file_name(content) or None,
        "seconds": _not_negative(content.get("seconds")),
        "bytes": _not_negative(content.get("fileLength") or content.get("file_size")),
        "ptt": ptt,
        "caption": as_text(content.get("caption")).strip() or None,
    }


def _file_name(content: Mapping[str, object]) -> str:
    name = content.get("fileName") or content.get("filename") or content.get("title")
    return cut_label(as_line(name))


def _not_negative(value: object) -> int | None:
    number = as_number(value)
    return number if number is not None and number >= 0 else None


def _lasting(what: str, seconds: object) -> str:
    number = _not_negative(seconds)
    if not number:
        return what
    return f"{what}, {number} second{'' if number == 1 else 's'}"


def _in_quotes(text: str) -> str:
    return f'"{text}"' if text else ""


def _captioned(content: Mapping[str, object]) -> str:
    return _in_quotes(as_text(content.get("caption")).strip())


def read_image(content: Mapping[str, object]) -> Reading:
    """Read `imageMessage`."""
    return Reading("image", bracketed("image", _captioned(content)), media=_media(content))


def read_video(content: Mapping[str, object]) -> Reading:
    """Read `videoMessage`; a GIF is a video that plays by itself."""
    what = (
        "GIF" if content.get("gifPlayback") is True else _lasting("video", content.get("seconds"))
    )
    return Reading("video", bracketed(what, _captioned(content)), media=_media(content))


def read_video_note(content: Mapping[str, object]) -> Reading:
    """Read `ptvMessage`, the round video."""
    what = _lasting("video note", content.get("seconds"))
    return Reading("video", bracketed(what, _captioned(content)), media=_media(content))


def read_audio(content: Mapping[str, object]) -> Reading:
    """Read `audioMessage`, with the words if Evolution has transcribed it (`speechToText`)."""
    ptt = content.get("ptt") is True or content.get("voice") is True
    what = _lasting("voice message" if ptt else "audio", content.get("seconds"))
    words = as_text(content.get("speechToText")).strip().removeprefix("[audio]").strip()
    kind = "ptt" if ptt else "audio"
    return Reading(
        kind,
        bracketed(what, _in_quotes(words)),
        media=_media(content, ptt=ptt),
        transcript=words or None,
    )


def read_sticker(content: Mapping[str, object]) -> Reading:
    """Read `stickerMessage`."""
    return Reading("sticker", "[sticker]", media=_media(content))


def read_document(content: Mapping[str, object]) -> Reading:
    """Read `documentMessage`; a caption that only repeats the name is ignored."""
    name = _file_name(content)
    caption = as_text(content.get("caption")).strip()
    text = bracketed(
        f'document "{name}"' if name else "document", caption if caption != name else ""
    )
    return Reading("document", text, media=_media(content))


def read_album(content: Mapping[str, object]) -> Reading:
    """Read `albumMessage`, which announces pictures that come as separate messages."""
    pictures, videos = (
        _not_negative(content.get(name)) or 0
        for name in ("expectedImageCount", "expectedVideoCount")
    )
    together = min(pictures + videos, _MOST_OF_AN_ALBUM)
    told = f"{together} picture{'' if together == 1 else 's'}"
    text = bracketed("album", told) if together else "[album]"
    return Reading("album", text, expects_reply=False, pictures=together or None)


READERS: dict[str, Reader] = {
    "albumMessage": read_album,
    "imageMessage": read_image,
    "videoMessage": read_video,
    "ptvMessage": read_video_note,
    "audioMessage": read_audio,
    "stickerMessage": read_sticker,
    "documentMessage": read_document,
}
