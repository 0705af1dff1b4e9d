"""Whether a reply gives its instructions away: a long piece of them, word for word.

What is translated, paraphrased or encoded is not seen.
"""

import re
import secrets
from collections.abc import Iterator

from router.safety.normal import normal

_SHORTEST = 40  # a secret shorter than this, folded, says nothing that is worth hiding
_LONGEST = 200_000  # characters of a secret that are looked for
_PRIME = 2**61 - 1
_BASE = secrets.randbelow(_PRIME - 256) + 256  # nobody can make pieces that look alike


def leaks(secret: str, text: str, least: int) -> bool:
    """Whether `text` has `least` characters of `secret` in one piece, or, if short, all of it.

    Case, punctuation, marks and spaces do not count, nor as characters. `least` of 0: never. Takes
    as long as the two are, whatever they say.
    """
    if not least:
        return False
    secret, text = _folded(secret[:_LONGEST])[:_LONGEST], _folded(text)
    least = min(least, len(secret))
    if len(secret) < _SHORTEST or len(text) < least:
        return False
    if len(secret) == least:
        return secret in text
    pieces = {number: at for at, number in enumerate(_numbers(secret, least))}
    for at, number in enumerate(_numbers(text, least)):
        found = pieces.get(number)
        if found is not None and secret[found : found + least] == text[at : at + least]:
            return True
    return False


def _numbers(text: str, size: int) -> Iterator[int]:
    """Yield a number for each piece of so many characters; each is made from the one before."""
    leaving = pow(_BASE, size, _PRIME)
    number = 0
    for at, sign in enumerate(text):
        number = number * _BASE + ord(sign)
        if at >= size:
            number -= ord(text[at - size]) * leaving
        number %= _PRIME
        if at >= size - 1:
            yield number


def _folded(text: str) -> str:
    plain = normal(text).casefold()
    return re.sub(r"[\W_]+", "", plain)  # no spaces either: a word may be cut in two messages
