"""Whether a reply gives its instructions away: a long piece of them, word for word.

What is translated, paraphrased or encoded is not seen.
"""

import re
import unicodedata

_SHORTEST = 40  # a secret shorter than this, folded, says nothing that is worth hiding


def leaks(secret: str, text: str, least: int) -> bool:
    """Whether `text` has `least` characters of `secret` in one piece, or, if short, all of it.

    Case, punctuation, marks and spaces do not count, nor as characters. `least` of 0: never.
    """
    secret, text = _folded(secret), _folded(text)
    least = min(least, len(secret))
    if least == 0 or len(secret) < _SHORTEST:
        return False
    # A piece of `least` characters has a whole block of half as many, wherever it begins.
    size = max(least // 2, 1)
    for start in range(0, len(secret) - size + 1, size):
        at = text.find(secret[start : start + size])
        while at != -1:
            if _run(secret, text, start, at) >= least:
                return True
            at = text.find(secret[start : start + size], at + 1)
    return False


def _run(secret: str, text: str, i: int, j: int) -> int:
    """Return the length of the common piece that has secret[i] at text[j]."""
    back = 0
    while i > back and j > back and secret[i - back - 1] == text[j - back - 1]:
        back += 1
    ahead = 0
    while (
        i + ahead < len(secret) and j + ahead < len(text) and secret[i + ahead] == text[j + ahead]
    ):
        ahead += 1
    return back + ahead


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", "", plain)  # no spaces either: a word may be cut in two messages
