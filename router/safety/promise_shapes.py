"""Builds the patterns of promises, for all languages. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promises:
    """How one language promises a human, in lower case and without accents.

    `offers` anywhere in a sentence makes it an offer or a condition. `denies` in the promise's own
    clause makes it the opposite.
    """

    promise: re.Pattern[str]
    offers: re.Pattern[str]
    denies: re.Pattern[str]


def one(pattern: str) -> str:
    """Return a pattern that is written on several lines, as one line."""
    return "".join(line.strip() for line in pattern.splitlines())


def any_of(*shapes: str) -> re.Pattern[str]:
    """Return a pattern that matches any of these shapes."""
    return re.compile("|".join(rf"\b(?:{shape})" for shape in shapes))
