"""Estimates the memory of a parsed JSON text, which may be many times as large as the text.

It is estimated from the text, which takes almost no time. The strings are examined one by one only
if the text is large and some of them may take four bytes per character.
"""

from sys import getsizeof

from router.whatsapp.elements import marks

_OF_A_VALUE = (
    200  # bytes per value at most, on average; the largest for its text is an object with one field
)
_WIDEST = 4  # bytes per character, in a string with an emoji
_LARGE = 65_536


def weight_of(raw: bytes, value: object, most_values: int) -> int:
    """Return about how many bytes `value`, parsed from `raw`, takes; rather too many.

    It has at most `most_values` values.
    """
    return _OF_A_VALUE * min(marks(raw), most_values) + _of_texts(raw, value)


def _of_texts(raw: bytes, value: object) -> int:
    if len(raw) < _LARGE:
        return _WIDEST * len(raw)
    if raw.isascii() and rb"\u" not in raw:
        return len(raw)
    total = 0
    level = [value]
    while level:
        inner: list[object] = []
        for each in level:
            if isinstance(each, str):
                total += getsizeof(each)
            elif isinstance(each, dict):
                inner += each.keys()
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    return total
