"""Whether a reply gives its instructions away: a long piece of them, word for word.

It is seen in pieces as well, in the rows of several lists, say. What is translated, paraphrased,
encoded or cut smaller is not.
"""

import functools
import re
from collections.abc import Iterator, Sequence

from router.safety.normal import normal
from router.safety.unseen import without_unseen

_SHORTEST = 40  # a secret shorter than this, folded, says nothing that is worth hiding
_PIECE = 16  # characters, folded, that are looked for in one piece: fewer are anybody's words
_LONGEST = 200_000  # characters of a secret that are looked for
_KEPT = 20_000  # characters of a secret that is kept folded for its tenant's next reply


def leaks(secret: str, text: str, least: int, free: str = "") -> bool:
    """Whether `text` has `least` characters of `secret` that stand together there, or all of it.

    They may be cut in pieces in the text, with anything between them. Case, punctuation, marks,
    spaces and what nobody sees do not count, nor as characters. `least` of 0: never. What stands
    in `free` as well may be said: it does not count either, but ends no piece of the secret that
    goes on after it. Takes as long as the three are, whatever they say.
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
    begin = end = 0  # of the secret's characters that were said, without a gap
    for at, piece in enumerate(_pieces(secret, size)):
        if piece not in said:
            continue
        begin, end = (begin if at <= end else at), at + size
        if untold[end] - untold[begin] >= least:
            return True
    return False


def _untold(secret: str, told: frozenset[str], size: int) -> Sequence[int]:
    """Return how many of a secret's first characters are not told, for each number of them."""
    if not told:
        return range(len(secret) + 1)
    untold, told_to = [0], 0
    for at in range(len(secret)):
        if secret[at : at + size] in told:  # the last ones are shorter than any piece
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
    """Return a prompt folded, which takes longer than to look for it; it changes seldom."""
    return _folded(text)


def _folded(text: str) -> str:
    plain = normal(without_unseen(text)).casefold()
    return re.sub(r"[\W_]+", "", plain)  # no spaces either: a word may be cut in two messages
