"""What a person will read of a request to Evolution API."""

from collections.abc import Iterator, Mapping

from router.webhook.clean import clean

# What is no text: where it goes, and what it carries.
_UNREAD = frozenset(
    {
        "audio",
        "delay",
        "key",
        "media",
        "mediatype",
        "mentioned",
        "mimetype",
        "number",
        "quoted",
        "sticker",
        "thumbnail",
        "thumbnailUrl",
        "video",
    }
)


def texts_of(body: Mapping[str, object]) -> str:
    """Return every text of the request, a line each: captions, titles, buttons, file names."""
    return "\n".join(clean(text) for text in _walk(body))


def _walk(body: object) -> Iterator[str]:
    waiting = [body]
    while waiting:  # no recursion: a body may be nested as deep as its sender likes
        match waiting.pop():
            case str(text) if text.strip():
                yield text
            case dict(fields):
                waiting += [value for name, value in fields.items() if name not in _UNREAD][::-1]
            case list(items):
                waiting += items[::-1]
            case _:
                continue
