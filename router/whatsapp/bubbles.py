"""Splits a reply into a few messages between paragraphs, as a person would write them. Pure.

What belongs together stays in one message: a title or an introducing line with the text after it; a
list; a block of code; a quote; a link or a price with the text about it. A paragraph is never
divided.
"""

import re
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

_SHORT = 100  # characters; a shorter text is always one message
_MOST_UNITS = 40  # if there are more, short ones are joined first, to limit the work
_GAP = re.compile(r"\n[^\S\n]*\n\s*")
_FENCE = "```"
_QUOTES = "\"'\u2018\u2019\u201c\u201d«»"
_ITEM = re.compile(
    rf"(?:[^\w\s{_QUOTES}(¿¡\[@+$€£]|\d{{1,3}}(?:[.)º°-]|\ufe0f?\u20e3)|[a-zA-Z][.)]\s)"
)
_ANNOUNCES = re.compile(rf"[:\uff1a;,\u2013\u2014-][*_~{_QUOTES}]*\Z")
# An e-mail address begins a word and has one @, so a text of only @ is searched in linear time.
_LINK = re.compile(r"(?:https?://|www\.)\S+|(?<!\S)[^\s@]+@[^\s@.]+\.\S+", re.IGNORECASE)
_PRICE = re.compile(
    r"(?:R\$|US\$|[$€£]|\b(?:BRL|USD|EUR|GBP)\b)\s?[0-9]"
    r"|[0-9]\s?(?:€|£|\breais\b|\beuros?\b|\bd[oó]lares\b|\bdollars\b)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^[ \t*_]{0,4}(\d{1,3})[.)][\s*_]", re.MULTILINE)
_LONGEST_ITEM = 800  # characters from one number of a list to the next one
_CONTINUES = re.compile(r"[a-zà-öø-ÿ)\]]|\s")
# A title: the form that Markdown's headings get, a short line in bold.
_TITLE = re.compile(r"\*(?=[^*\n]*[^\W\d_]{3})[^*\n]{1,60}(?<![.!?])\*")
# A line that begins with a label: "Size: 20 cm".
_SAYS_OF = re.compile(r"[*_]?[^\W\d_][^:\n]{0,30}:[*_]? \S")
_LINE_OF_A_LIST = 80  # characters of a short line with a price or a link in it


def bubbles_of(text: str, most: int) -> tuple[str, ...]:
    """Divide `text` into messages, at most `most`.

    Each message is an unchanged piece of the text; only white space between them is left out.
    """
    if most <= 1 or len(text) <= _SHORT:
        return (text,)
    units = _bounded(list(_units(text)), len(text))
    while len(units) > most:
        nearest = min(
            range(len(units) - 1),
            key=lambda place: len(units[place][0]) + len(units[place + 1][0]),
        )
        units[nearest : nearest + 2] = [_joined(units[nearest], units[nearest + 1])]
    return tuple(unit for unit, _ in units)


_Unit = tuple[str, str]  # the text, and the white space after it


def _joined(first: _Unit, second: _Unit) -> _Unit:
    return first[0] + first[1] + second[0], second[1]


def _bounded(units: list[_Unit], length: int) -> list[_Unit]:
    """Join short units if there are very many."""
    if len(units) <= _MOST_UNITS:
        return units
    enough = length // _MOST_UNITS
    kept: list[_Unit] = []
    for unit in units:
        if kept and len(kept[-1][0]) < enough:
            kept[-1] = _joined(kept[-1], unit)
        else:
            kept.append(unit)
    return kept


def _units(text: str) -> Iterator[_Unit]:
    """Yield the units that must not be divided, each with the white space after it."""
    begins, last, fences = 0, 0, 0
    steps = _between_numbers(text)
    for gap in _GAP.finditer(text):
        while steps and steps[0][1] <= gap.start():
            steps.popleft()
        is_in_list = bool(steps) and steps[0][0] <= gap.start()
        before = text[last : gap.start()]
        fences += before.count(_FENCE)
        # White space at the beginning of a line belongs to that line.
        after = text[gap.end() - _indent(gap.group()) :]
        is_whole = fences % 2 == 0 and not is_in_list
        if is_whole and not _belong_together(before, after.partition("\n\n")[0]):
            yield text[begins : gap.start()], text[gap.start() : gap.end()]
            begins = gap.end()
        last = gap.end()
    yield text[begins:], ""


def _between_numbers(text: str) -> deque[tuple[int, int]]:
    """Return the positions of each number of a list and of the next number."""
    found = [(int(number[1]), number.start()) for number in _NUMBER.finditer(text)]
    return deque(
        (start, end)
        for (number, start), (following, end) in pairwise(found)
        if following == number + 1 and end - start <= _LONGEST_ITEM
    )


def _indent(gap: str) -> int:
    return len(gap) - gap.rindex("\n") - 1


def _belong_together(before: str, after: str) -> bool:
    """Whether two consecutive paragraphs belong together."""
    whole = before.strip()
    last = whole.rpartition("\n")[2].strip()
    first = after.partition("\n")[0]
    if _ANNOUNCES.search(last) or _CONTINUES.match(first) or _TITLE.fullmatch(whole):
        return True
    if _is_item(last) and _is_item(first):  # items of a list, lines of a quote
        return True
    if _is_bare(first):
        return True
    return _is_of_a_list(last) and _is_of_a_list(first)


def _is_item(line: str) -> bool:
    return _ITEM.match(line) is not None


def _is_bare(line: str) -> bool:
    """Whether the line is only a link or a price, without a word about it."""
    rest = _PRICE.sub(" ", _LINK.sub(" ", line))
    if rest == line:
        return False
    return not any(len(word) > 3 and word.isalpha() for word in rest.split())


def _is_of_a_list(line: str) -> bool:
    if len(line) > _LINE_OF_A_LIST:
        return False
    return any(sign.search(line) for sign in (_PRICE, _LINK)) or _SAYS_OF.match(line) is not None
