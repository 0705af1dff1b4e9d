"""Normalises a text (NFKC) in linear time.

Unicode sorts the marks on a letter, and the library needs quadratic time for that: a text of
nothing but marks would block the process. So the text is processed in pieces.
"""

import unicodedata

_PIECE = 1000
_LONGEST_LETTER = 60  # characters, with all its marks; no language has longer ones


def normal(text: str) -> str:
    """Return the text in its normal form. Only letters with absurdly many marks are divided."""
    if text.isascii():
        return text
    pieces = []
    start = 0
    while start < len(text):
        end = _end_of_letter(text, start + _PIECE)
        pieces.append(unicodedata.normalize("NFKC", text[start:end]))
        start = end
    return "".join(pieces)


def _end_of_letter(text: str, end: int) -> int:
    """Return where the letter at `end` ends, if it continues there."""
    for place in range(end, min(end + _LONGEST_LETTER, len(text))):
        if text[place].isascii():
            return place
    return min(end + _LONGEST_LETTER, len(text))
