"""Whether a reply reveals its instructions: a long piece of them, word for word.

It is also recognised in pieces, for example in the rows of several lists. A translated,
paraphrased, encoded or more finely cut text is not.
"""

import re
import secrets
from collections.abc import Iterator, Sequence

from router.safety.normal import normal
from router.safety.unseen import without_unseen

_SHORTEST = 40  # a secret shorter than this, folded, contains nothing worth hiding
_PIECE = 16  # characters, folded, that are searched in one piece: fewer may be anybody's words
_LONGEST = 200_000  # characters of a secret that are searched for
_PRIME = 2**61 - 1
_BASE = secrets.randbelow(_PRIME - 256) + 256  # nobody can make two pieces with one number


def leaks(secret: str, text: str, least: int, free: str = "") -> bool:
    """Whether `text` contains `least` consecutive characters of `secret`, or all of it.

    They may be in pieces in the text, with anything between them. Case, punctuation, marks, spaces
    and invisible characters are ignored, and not counted. `least` of 0: never. What is in `free` as
    well may be said: it is not counted either, but does not interrupt a longer piece of the secret.
    Takes time linear in the three texts, whatever they are.
    """
    if not least:
        return False
    secret, text = _folded(secret[:_LONGEST])[:_LONGEST], _folded(text)
    least = min(least, len(secret))
    if len(secret) < _SHORTEST or len(text) < min(least, _SHORTEST):
        return False
    size = min(least, _PIECE)
    pieces = list(_numbers(secret, size))
    free = _folded(free[:_LONGEST])[:_LONGEST]
    untold = _untold(pieces, frozenset(_numbers(free, size)), size)
    least = min(least, untold[-1])
    if untold[-1] < _SHORTEST or len(text) < least:
        return False
    said = {number: at for at, number in enumerate(_numbers(text, size))}
    begin = end = 0  # of the secret's characters that were said, without a gap
    for at, number in enumerate(pieces):
        found = said.get(number)
        if found is None or text[found : found + size] != secret[at : at + size]:
            continue
        begin, end = (begin if at <= end else at), at + size
        if untold[end] - untold[begin] >= least:
            return True
    return False


def _untold(pieces: Sequence[int], told: frozenset[int], size: int) -> Sequence[int]:
    """Return how many of a secret's first characters are untold, for each number of them."""
    length = len(pieces) + size - 1
    if not told:
        return range(length + 1)
    untold, told_to = [0], 0
    for at in range(length):
        if at < len(pieces) and pieces[at] in told:
            told_to = at + size
        untold.append(untold[-1] + (at >= told_to))
    return untold


def _numbers(text: str, size: int) -> Iterator[int]:
    """Yield a number for each piece of this many characters, each computed from the one before."""
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
    plain = normal(without_unseen(text)).casefold()
    return re.sub(r"[\W_]+", "", plain)  # no spaces either: a word may be cut in two messages
