"""The shape of promises in all languages: how a pattern is put together (pure)."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promises:
    """How one language promises a human, in small letters and without accents.

    `offers` makes a sentence an offer or a condition, anywhere in it; `denies` makes it the
    opposite, in the promise's own clause.
    """

    promise: re.Pattern[str]
    offers: re.Pattern[str]
    denies: re.Pattern[str]


def one(pattern: str) -> str:
    """Return a pattern that is written on several lines."""
    return "".join(line.strip() for line in pattern.splitlines())


def any_of(*shapes: str) -> re.Pattern[str]:
    """Return a pattern that matches any of these shapes."""
    return re.compile("|".join(rf"\b(?:{shape})" for shape in shapes))
