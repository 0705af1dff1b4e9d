"""Reads a flow's request field by field. Pure.

Known fields must have the right type; all other fields are refused by name. Only empty values
(null, false, empty) are skipped silently.

The lengths of texts and lists are checked before anything else is done with them. The limits are
higher than WhatsApp's own: 65,536 characters in a text, 1,024 in a caption or a list's text, 24 in
a row's title, 10 rows, 1,024 people in a group.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from router.outbound.media import is_address
from router.whatsapp.clean import JsonObject, JsonValue, clean

Read: TypeAlias = Callable[[object, str], JsonValue]


class BadField(Exception):
    """The request has a field that cannot be used. `name` is the name of its outermost field."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.name = re.split(r"[.\[]", path, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Field:
    """How a field is read, and which type its value must have, unless it is empty.

    `keeps_empty`: an empty value of that type is passed on, because it has a meaning, or because
    Evolution needs the field.
    """

    read: Read
    type: type | tuple[type, ...]
    keeps_empty: bool = False


Fields: TypeAlias = Mapping[str, Field]


def read_fields(fields: Fields, body: Mapping[str, Any], within: str = "") -> JsonObject:
    """Return the known fields of the body. Raises BadField."""
    found: JsonObject = {}
    for name, value in body.items():
        path = f"{within}{name}"
        field = fields.get(name)
        if _says_nothing(value) and not (field and _is_kept(field, value)):
            continue
        if field is None:
            raise BadField(clean(path[:200]), "the gateway does not take this field")
        if isinstance(value, bool) is not (field.type is bool) or not isinstance(value, field.type):
            raise BadField(path, f"it must be {_called(field.type)}")
        found[name] = field.read(value, path)
    return found


def characters_in(value: object) -> int:
    """Return the total length of all texts in a value."""
    total, waiting = 0, [value]
    while waiting:
        match waiting.pop():
            case str(found):
                total += len(found)
            case list(items):
                waiting += items
            case dict(fields):
                waiting += fields.keys()
                waiting += fields.values()
            case _:
                continue
    return total


def _says_nothing(value: object) -> bool:
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def _is_kept(field: Field, value: object) -> bool:
    return field.keeps_empty and value is not None and isinstance(value, field.type)


def _called(type_: type | tuple[type, ...]) -> str:
    return _TYPE_NAMES[type_[0] if isinstance(type_, tuple) else type_]


_LARGEST = 2**53  # JavaScript's integers are exact up to this
_TYPE_NAMES = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    list: "a list",
    dict: "an object",
}


# --- readers for each kind of field


def one_of(*known: str) -> Read:
    """Read one of a few allowed words."""

    def read(value: Any, path: str) -> JsonValue:
        if value not in known:
            raise BadField(path, f"it must be one of {', '.join(known)}")
        return value  # type: ignore[no-any-return]

    return read


def whole(most: int) -> Read:
    """Read a whole number, 0 or more."""

    def read(value: Any, path: str) -> JsonValue:
        if not 0 <= value <= most or value != int(value):  # NaN is in no range
            raise BadField(path, f"it must be a whole number from 0 to {most}")
        return int(value)

    return read


def text(most: int) -> Read:
    """Read a text of at most this many characters."""

    def read(value: Any, path: str) -> JsonValue:
        if len(value) > most:
            raise BadField(path, f"it has {len(value)} characters, {most} are allowed")
        return clean(value)

    return read


def texts(most: int, longest: int) -> Read:
    """Read a list of at most this many texts, each with a maximum length."""
    each = text(longest)

    def read(value: Any, path: str) -> JsonValue:
        if not all(isinstance(item, str) for item in value):
            raise BadField(path, "it must be a list of texts")
        _require_few(value, path, most)
        return [each(item, path) for item in value]

    return read


def objects_of(fields: Fields) -> Read:
    """Read a list of objects that have these fields."""

    def read(value: Any, path: str) -> JsonValue:
        _require_few(value, path, _MOST_OBJECTS)
        if not all(isinstance(item, dict) for item in value):
            raise BadField(path, "it must be a list of objects")
        return [read_fields(fields, item, f"{path}[{place}].") for place, item in enumerate(value)]

    return read


def object_of(fields: Fields, *required: str) -> Read:
    """Read an object that has these fields, of which some are required."""

    def read(value: Any, path: str) -> JsonValue:
        found = read_fields(fields, value, f"{path}.")
        for name in required:
            if name not in found:
                raise BadField(f"{path}.{name}", "it is missing")
        return found

    return read


def refused(why: str) -> Read:
    """Accept no value at all."""

    def read(_: Any, path: str) -> JsonValue:
        raise BadField(path, why)

    return read


def _require_few(items: list[Any], path: str, most: int) -> None:
    if len(items) > most:
        raise BadField(path, f"it has {len(items)} elements, {most} are allowed")


def _as_media(value: Any, path: str) -> JsonValue:
    """Read a URL, or bytes in base64; only the limit of the whole request applies to base64."""
    if is_address(value) and len(value) > _LONGEST_ADDRESS:
        raise BadField(path, f"a URL has {_LONGEST_ADDRESS} characters at most")
    return clean(value)


def _as_it_is(value: Any, _: str) -> JsonValue:
    return value  # type: ignore[no-any-return]


def _as_number(value: Any, path: str) -> JsonValue:
    if not -_LARGEST <= value <= _LARGEST:  # NaN is refused, too
        raise BadField(path, "it must be a finite number")
    return value  # type: ignore[no-any-return]


LONGEST_TEXT = 65_536
_LONGEST_LINE = 4096
_LONGEST_NAME = 1024
_LONGEST_ADDRESS = 8192
_MOST_OBJECTS = 100
_MOST_TEXTS = 100
_MOST_PEOPLE = 1024
MESSAGE = Field(text(LONGEST_TEXT), str, keeps_empty=True)
TEXT = Field(text(_LONGEST_LINE), str, keeps_empty=True)
NAME = Field(text(_LONGEST_NAME), str)
MEDIA = Field(_as_media, str)
FLAG = Field(_as_it_is, bool, keeps_empty=True)
NUMBER = Field(_as_number, (int, float))
TEXTS = Field(texts(_MOST_TEXTS, _LONGEST_LINE), list)
PEOPLE = Field(texts(_MOST_PEOPLE, _LONGEST_NAME), list)
