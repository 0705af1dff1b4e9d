"""Recognises a reply that reveals its instructions: a long piece of them, word for word.

The piece is also recognised if it is divided, for example into the rows of several lists. It is not
recognised if it is translated, paraphrased, encoded or divided more finely.
"""

import functools
import re
from collections.abc import Iterator, Sequence

from router.safety.normal import normal
from router.safety.unseen import without_unseen

_SHORTEST = 40  # characters, folded; a shorter secret contains nothing worth hiding
_PIECE = 16  # characters, folded, that must match in a row; fewer may be a coincidence
_LONGEST = 200_000  # characters of a secret that are searched for
_KEPT = 20_000  # a secret of at most so many characters is cached in its folded form


def leaks(secret: str, text: str, least: int, free: str = "") -> bool:
    """Whether `text` contains `least` consecutive characters of `secret`, or all of it.

    In the text they may be divided into pieces, with anything between them. Case, punctuation,
    marks, spaces and invisible characters are ignored, and not counted. With `least` of 0 the
    result is always False. What also occurs in `free` may be said: it is not counted, but does not
    interrupt a longer piece of the secret. The time is always linear in the length of the three
    texts.
    """
    if not least:
        return False
    text = _folded(text)
    if len(text) < min(least, _SHORTEST):
        return False
    secret = _folded_secret(secret)
    least = min(least, len(secret))
    if len(secret) < _SHORTEST:
        return False
    size = min(least, _PIECE)
    free = _folded(free[:_LONGEST])[:_LONGEST]
    untold = _untold(secret, frozenset(_pieces(free, size)), size)
    least = min(least, untold[-1])
    if untold[-1] < _SHORTEST or len(text) < least:
        return False
    said = frozenset(_pieces(text, size))
    begin = end = 0  # the current run of the secret's characters that were said without a gap
    for at, piece in enumerate(_pieces(secret, size)):
        if piece not in said:
            continue
        begin, end = (begin if at <= end else at), at + size
        if untold[end] - untold[begin] >= least:
            return True
    return False


def _untold(secret: str, told: frozenset[str], size: int) -> Sequence[int]:
    """For each n, return how many of the secret's first n characters do not occur in the text."""
    if not told:
        return range(len(secret) + 1)
    untold, told_to = [0], 0
    for at in range(len(secret)):
        if secret[at : at + size] in told:  # near the end it is too short to be found
            told_to = at + size
        untold.append(untold[-1] + (at >= told_to))
    return untold


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


def _folded_secret(text: str) -> str:
    text = text[:_LONGEST]
    return (_kept(text) if len(text) <= _KEPT else _folded(text))[:_LONGEST]


@functools.lru_cache(128)
def _kept(text: str) -> str:
    """Return a prompt folded, from a cache: folding takes longer than the search."""
    return _folded(text)


def _folded(text: str) -> str:
    plain = normal(without_unseen(text)).casefold()
    return re.sub(r"[\W_]+", "", plain)  # without spaces: messages may divide a word
