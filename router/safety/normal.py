"""One form for all the ways to write a text (NFKC), in linear time.

Unicode sorts the marks on a letter, and the library's way to do so takes the square of their
number: a text of nothing but marks would block the process. So it is processed in pieces.
"""

import unicodedata

_PIECE = 1000
_LONGEST_LETTER = 60  # characters with all its marks; longer ones are letters of no language


def normal(text: str) -> str:
    """Return the text in its normal form. No letter loses its marks, except absurd ones."""
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
    """Return where the letter ends that may go on at `end`."""
    for place in range(end, min(end + _LONGEST_LETTER, len(text))):
        if text[place].isascii():
            return place
    return min(end + _LONGEST_LETTER, len(text))
