"""Converts values of a webhook into plain values that can be stored. Nothing here raises.

PostgreSQL's jsonb and text accept neither U+0000 nor lone surrogates, and WhatsApp clients and
JavaScript can send both. So every text on its way to SQL passes `clean` once.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, JsonValue]

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGITS = re.compile(r"-?[0-9]{1,19}")
_LARGEST = 2**53  # the numbers come from JavaScript, which is exact up to this
_MILLISECONDS_FROM = 10**11  # in seconds this would be the year 5138
_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800  # 2009, when WhatsApp began, to 2100
_NOTHING: Mapping[str, object] = {}


def clean(text: str) -> str:
    """Return the text without U+0000 and with U+FFFD for each lone surrogate."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)


def as_object(value: object) -> Mapping[str, object]:
    """Return a JSON object unchanged, and an empty one for anything else."""
    return value if isinstance(value, dict) else _NOTHING


def as_text(value: object) -> str:
    """Return a text, cleaned; an empty text for anything else."""
    return clean(value) if isinstance(value, str) else ""


def as_line(value: object) -> str:
    """Return a text (a name, a title, a label) in one line."""
    return " ".join(as_text(value).split())


def as_list(value: object) -> list[object]:
    """Return a list unchanged, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_number(value: object) -> int | None:
    """Return an integer; None if the value is not one, or too large to be exact.

    Also accepts a numeric text, and protobuf's 64-bit form in JSON: `{low, high, unsigned}`, two
    halves of 32 bits, of which JavaScript writes the lower one as a signed number.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, dict):
        value = _joined(value.get("low"), value.get("high"))
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST:
        return int(value)
    return None


def as_time(value: object) -> str | None:
    """Return a time (Unix seconds or milliseconds, in any form of a number) as ISO 8601 in UTC.

    Returns None if it is not a time since WhatsApp exists.
    """
    number = as_number(value)
    if number is None:
        return None
    moment = number / 1000 if abs(number) > _MILLISECONDS_FROM else number
    if not _EARLIEST <= moment < _LATEST:
        return None
    return datetime.fromtimestamp(moment, tz=UTC).isoformat()


def as_coordinate(value: object) -> str | None:
    """Return a latitude or longitude in degrees, in the shortest exact form."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -180 <= value <= 180:
        return None
    return str(int(value) if value == int(value) else value)


def _joined(low: object, high: object) -> int | None:
    if isinstance(low, bool) or isinstance(high, bool):
        return None
    if not isinstance(low, int) or not isinstance(high, int):
        return None
    return (high << 32) + (low & 0xFFFFFFFF) if abs(high) < 2**32 else None
