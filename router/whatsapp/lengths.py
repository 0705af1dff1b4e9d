"""The maximum stored length of texts from webhooks.

WhatsApp's texts have at most 65,536 characters, its names far fewer, but a tenant's server may send
anything. A longer text is cut, and marked as cut. SQL's `hybridflow.cut` does the same.
"""

from router.whatsapp.clean import JsonObject, JsonValue

LONGEST_TEXT = 65_536
_MOST_OF_NAME = 256
_MOST_OF_ALL_ELSE = 4096
_TEXTS = ("text", "caption")
MARK = " […]"
"""Marks a text that was cut."""


def storable(event: JsonObject) -> JsonObject:
    """Return the event with all texts cut to the maximum length of their kind."""
    return {name: _bounded(name, value) for name, value in event.items()}


def cut(text: str, most: int = LONGEST_TEXT) -> str:
    """Return the text, cut to at most so many characters."""
    return text if len(text) <= most else text[: most - len(MARK)] + MARK


def _bounded(name: str, value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return cut(value, _most_of(name))
    return storable(value) if isinstance(value, dict) else value


def _most_of(name: str) -> int:
    if name in _TEXTS:
        return LONGEST_TEXT
    return _MOST_OF_NAME if name.endswith("name") else _MOST_OF_ALL_ELSE
