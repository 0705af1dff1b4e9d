"""Times in requests: RFC 3339 with a time zone, such as 2026-11-23T14:00:00Z."""

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator


def _refuse_numbers(value: object) -> object:
    """Refuse a number: it would count as seconds since 1970, and is probably a mistake."""
    text = str(value).strip()
    if isinstance(value, int | float) or text.replace(".", "", 1).lstrip("+-").isdigit():
        raise ValueError("write the time with its zone, such as 2026-11-23T14:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_numbers)]
