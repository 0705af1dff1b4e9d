"""The texts in a request to Evolution API that a person will read, and their hidden thoughts."""

from collections.abc import Iterator, Mapping
from typing import Any

from router.llm.reasoning import without_reasoning
from router.whatsapp.clean import clean

# Only at the top of a body, what is not text: which message it is about, and the bytes of a media.
# Inside listed objects (rows, buttons, people) everything counts.
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


def thought_out(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request without a model's thoughts, in all of its texts."""
    return {
        name: value if name in _UNREAD else _without_reasoning(value)
        for name, value in body.items()
    }


def _without_reasoning(value: Any) -> Any:
    match value:
        case str(text):
            return without_reasoning(text)
        case dict(fields):
            return {name: _without_reasoning(inner) for name, inner in fields.items()}
        case list(items):
            return [_without_reasoning(item) for item in items]
        case _:
            return value


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
