"""Finds the texts in a request to Evolution API that a person will read."""

from collections.abc import Iterator, Mapping
from typing import Any

from router.llm.reasoning import without_reasoning
from router.whatsapp.clean import clean

# Fields at the top level of a body that people do not read: the message that it is about, and the
# bytes of media. Inside lists of objects (rows, buttons, people) every text counts.
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
    """Return all texts of the request, one per line: captions, titles, buttons, file names."""
    said = [value for name, value in body.items() if name not in _UNREAD]
    return "\n".join(clean(text) for text in _walk(said))


def thought_out(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with a model's thoughts removed from all texts."""
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
    while waiting:  # no recursion, because a body may be nested to any depth
        match waiting.pop():
            case str(text) if text.strip():
                yield text
            case dict(fields):
                waiting += list(fields.values())[::-1]
            case list(items):
                waiting += items[::-1]
            case _:
                continue
