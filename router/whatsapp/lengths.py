"""The maximum stored length of what a webhook says.

WhatsApp's own texts end at 65,536 characters, its names long before; a server that a tenant named
may send anything. A longer text is cut, and says so. SQL's `hybridflow.cut` does the same.
"""

from router.whatsapp.clean import JsonObject, JsonValue

LONGEST_TEXT = 65_536
_MOST_OF_NAME = 256
_MOST_OF_ALL_ELSE = 4096
_TEXTS = ("text", "caption")
MARK = " […]"
"""Marks a text that was cut."""


def storable(event: JsonObject) -> JsonObject:
    """Return the event with no text in it that is longer than its kind may be."""
    return {name: _bounded(name, value) for name, value in event.items()}


def cut(text: str, most: int = LONGEST_TEXT) -> str:
    """Return a text of no more than so many characters."""
    return text if len(text) <= most else text[: most - len(MARK)] + MARK


def _bounded(name: str, value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return cut(value, _most_of(name))
    return storable(value) if isinstance(value, dict) else value


def _most_of(name: str) -> int:
    if name in _TEXTS:
        return LONGEST_TEXT
    return _MOST_OF_NAME if name.endswith("name") else _MOST_OF_ALL_ELSE
