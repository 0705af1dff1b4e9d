"""Removes phone numbers and JIDs from log lines."""

import re
from typing import Any

# What may be a phone number or a JID in others' text: an error of Evolution, a path, a value.
_PERSON = re.compile(
    r"(?<![A-Za-z0-9.])(?:\+?\d{5,18}@(?:s\.whatsapp\.net|lid)"
    r"|(?:\+\d{7,18}|\d{10,18})(?![A-Za-z0-9]|\.\d))"
)
_DIGITS = re.compile(r"\d{8,}")  # in the name of an instance: people often use their number


def without_people(text: str) -> str:
    """Return another program's text without what may be a phone number or a JID."""
    return _PERSON.sub("(number)", text)


def shown_instance(name: str) -> str:
    """Return an instance's name; of a number in it, only the last digits stay."""
    return _DIGITS.sub(lambda found: f"(number …{found[0][-2:]})", name)


def mask_people(content: dict[str, Any]) -> None:
    """Remove numbers from every text; an instance keeps the last digits, to stay recognisable."""
    for name, value in content.items():
        if name in ("action", "contact", "correlation_id") or not isinstance(value, str):
            continue
        if name == "instance":
            masked = shown_instance(value)
            content["message"] = content["message"].replace(value, masked)
            content[name] = masked
        else:
            content[name] = without_people(value)
