"""Phone numbers and JIDs in lines: none of them stands there."""

import re
from typing import Any

# What may be a phone number or a JID, in what others say: an error of Evolution, a path, a value.
_PERSON = re.compile(
    r"(?<![A-Za-z0-9.])(?:\+?\d{5,18}@(?:s\.whatsapp\.net|lid)"
    r"|(?:\+\d{7,18}|\d{10,18})(?![A-Za-z0-9]|\.\d))"
)
_DIGITS = re.compile(r"\d{8,}")  # in the name of an instance, which people call by their number


def without_people(text: str) -> str:
    """Return what others say without what may be a phone number or a JID."""
    return _PERSON.sub("(number)", text)


def shown_instance(name: str) -> str:
    """Return an instance's name, of a number in it no more than the last digits."""
    return _DIGITS.sub(lambda found: f"(number …{found[0][-2:]})", name)


def mask_people(content: dict[str, Any]) -> None:
    """Leave numbers out of every text; an instance keeps the last digits, to be told by."""
    for name, value in content.items():
        if name in ("action", "contact", "correlation_id") or not isinstance(value, str):
            continue
        if name == "instance":
            masked = shown_instance(value)
            content["message"] = content["message"].replace(value, masked)
            content[name] = masked
        else:
            content[name] = without_people(value)
