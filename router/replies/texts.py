"""What a person will read of a request to Evolution API."""

from collections.abc import Iterator, Mapping

from router.whatsapp.clean import clean

# At the top of a body alone, what is no text: which message it is about, and the bytes of a media.
# Inside of what is listed there (rows, buttons, people) everything counts.
_UNREAD = frozenset(
    {
        "audio",
        "key",
        "media",
        "mediatype",
        "mentioned",
        "quoted",
        "sticker",
        "thumbnailUrl",
        "video",
    }
)


def texts_of(body: Mapping[str, object]) -> str:
    """Return every text of the request, a line each: captions, titles, buttons, file names."""
    said = [value for name, value in body.items() if name not in _UNREAD]
    return "\n".join(clean(text) for text in _walk(said))


def _walk(body: object) -> Iterator[str]:
    waiting = [body]
    while waiting:  # no recursion: a body may be nested as deep as its sender likes
        match waiting.pop():
            case str(text) if text.strip():
                yield text
            case dict(fields):
                waiting += list(fields.values())[::-1]
            case list(items):
                waiting += items[::-1]
            case _:
                continue
