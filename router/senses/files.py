"""What a file is, by its bytes: what it is called, by whomever, counts for nothing."""

from dataclasses import dataclass, field

import puremagic

_AT_THE_ENDS = 4096  # bytes that are looked at of a file's beginning, and of its end
# Of what the bytes look like, by puremagic's extensions: the name under which servers take it. They
# refuse .oga and .opus, which hold the same as .ogg.
_SOUNDS = {
    ".ogg": ("ogg", "audio/ogg"),
    ".oga": ("ogg", "audio/ogg"),
    ".opus": ("ogg", "audio/ogg"),
    ".mp3": ("mp3", "audio/mpeg"),
    ".m4a": ("m4a", "audio/mp4"),
    ".mp4": ("mp4", "audio/mp4"),
    ".wav": ("wav", "audio/wav"),
    ".flac": ("flac", "audio/flac"),
    ".webm": ("webm", "audio/webm"),
}


@dataclass(frozen=True, slots=True)
class Sound:
    """A file with sound in it; `name` and `mimetype` follow its bytes."""

    content: bytes = field(repr=False)
    name: str
    mimetype: str


def sound_of(content: bytes) -> Sound | None:
    """Return the file as sound, or None where it is none that is known."""
    for extension in _looks_like(content):
        if extension in _SOUNDS:
            ending, mimetype = _SOUNDS[extension]
            return Sound(content, f"sound.{ending}", mimetype)
    return None


def _looks_like(content: bytes) -> list[str]:
    """Return the extensions that it may have, the likeliest first."""
    if content[4:8] == b"ftyp":  # of its many brands puremagic knows some
        return [".m4a"]
    if content[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):  # MP3 without a tag in front
        return [".mp3"]
    ends = content[:_AT_THE_ENDS] + content[-_AT_THE_ENDS:]
    try:
        found = puremagic.magic_string(ends)
    except (puremagic.PureError, ValueError):
        return []
    return [each.extension for each in found]
