"""How LLM providers check the pictures in a request: by their bytes."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
_MOST_BYTES = 5 * 1024 * 1024
_BEGINNINGS = {
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


def pictures_in(messages: list[Json]) -> Iterator[tuple[str, str]]:
    """Yield the type and the base64 of each picture, in either provider's format."""
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            if block.get("type") == "image":
                source = block.get("source") or {}
                yield str(source.get("media_type")), str(source.get("data"))
            elif block.get("type") == "image_url":
                url = str((block.get("image_url") or {}).get("url"))
                kind, _, data = url.removeprefix("data:").partition(";base64,")
                yield kind, data


def fault_in_pictures(messages: list[Json], *, is_blind: bool) -> str | None:
    """Return why the provider refuses the request's pictures; None: it does not."""
    for kind, data in pictures_in(messages):
        if is_blind:
            return "This model does not support image input"
        try:
            content = base64.b64decode(data, validate=True)
        except binascii.Error:
            return "image: invalid base64 data"
        if kind not in _BEGINNINGS:
            return f"image: media type {kind} is not supported"
        if not content.startswith(_BEGINNINGS[kind]):
            return f"The image was specified using the {kind} media type, but does not appear to be"
        if len(content) > _MOST_BYTES:
            return "image exceeds 5 MB maximum"
    return None
