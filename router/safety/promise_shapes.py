"""What the languages of promises have in common: how a pattern is put together (pure)."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promises:
    """How one language promises a human, in small letters and without accents.

    `offers` is what makes of a sentence an offer or a condition, wherever it stands; `denies`, what
    makes it the contrary, in the promise's own clause.
    """

    promise: re.Pattern[str]
    offers: re.Pattern[str]
    denies: re.Pattern[str]


def one(pattern: str) -> str:
    """Return a pattern that is written on several lines."""
    return "".join(line.strip() for line in pattern.splitlines())


def any_of(*shapes: str) -> re.Pattern[str]:
    """Return the pattern of whatever has one of these shapes."""
    return re.compile("|".join(rf"\b(?:{shape})" for shape in shapes))
