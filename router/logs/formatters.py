"""Formats a record as one line: as JSON, or as text for a terminal."""

import logging
import re
from datetime import UTC, datetime
from typing import Any

import orjson

from router.logs.events import (
    Action,
    bound_contact,
    bound_correlation,
    bound_execution,
    bound_execution_url,
)
from router.logs.people import mask_people, without_people
from router.logs.scrubber import Scrubber, readable

# Control characters, line separators, and characters that change a text's direction.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_QUERY = re.compile(r"\?[^ \"]*")
_BOUND = (
    ("contact", bound_contact),
    ("execution_id", bound_execution),
    ("execution_url", bound_execution_url),
    ("correlation_id", bound_correlation),
)


class JsonFormatter(logging.Formatter):
    """Makes a record one line of JSON."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Values that JSON cannot hold are written as text."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            **self._scrub.fields(_content(self, record)),
        }
        try:
            text = orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z)
        except TypeError:  # lone surrogates, huge numbers, circles
            text = orjson.dumps({name: _piece(value) for name, value in line.items()})
        return self._scrub.line(_safe(text.decode()))


class TextFormatter(logging.Formatter):
    """Makes a record one line for a person at a terminal."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception follows on lines of its own."""
        content = self._scrub.fields(_content(self, record))
        message = content.pop("message")
        exception = content.pop("exception", None)
        content.pop("configuration", None)  # it would push the earlier lines off the screen
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={readable(value)}" for name, value in content.items())
        lines = [f"{time} {record.levelname:<8} {message}  {fields}"]
        lines += [f"    {below}" for below in exception.split("\n")] if exception else []
        return self._scrub.line("\n".join(_safe(line, "\\x{:02x}") for line in lines))


def _content(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    action = getattr(record, "action", None)
    message = record.getMessage()
    message = without_people(message)
    if record.name == "uvicorn.access":  # the path may contain a secret or a phone number
        message = _QUERY.sub("?…", message)
    content: dict[str, Any] = {"message": message}
    if isinstance(action, Action):
        content.update({"action": action, **record.__dict__["fields"]})
        mask_people(content)
    else:
        content["logger"] = record.name
    if record.exc_info:
        content["exception"] = without_people(formatter.formatException(record.exc_info))
    for name, bound in _BOUND:
        value = content.pop(name, None) or bound.get()
        if value is not None:
            content[name] = value
    return content


def _safe(line: str, short: str = "\\u{:04x}") -> str:
    """Return the line with control characters escaped, so that one line stays one line."""

    def escaped(found: re.Match[str]) -> str:
        code = ord(found[0])
        return "\\n" if code == 10 else (short if code < 256 else "\\u{:04x}").format(code)

    return _UNSAFE.sub(escaped, line)


def _piece(value: object) -> orjson.Fragment | str:
    try:
        return orjson.Fragment(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z))
    except TypeError:
        return readable(value)
