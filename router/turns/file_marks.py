"""Finds the marks by which a model names a file of the business in its text. Pure.

A mark is `[[image:NAME]]`, in double brackets. If its file exists and the mark is on a line of its
own, it divides the text there. Within a line, a table or a block of code, the file comes after the
text that must stay whole. The mark of an unknown file is removed, and the text around it stays. In
single brackets it is ordinary text.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_KINDS = (
    "image|imagem|imagen|img|foto|photo|picture|pic|gif|file|send_file|arquivo|archivo|sticker"
    "|figurinha|video|vídeo|audio|áudio|document|documento|pdf"
)
_OPENED = re.compile(rf"\[\[\s*+(?:{_KINDS})\s*+:", re.IGNORECASE)  # +: each space is tried once
_MARK = re.compile(_OPENED.pattern + r"([^\[\]\n]{0,200})\]\]", re.IGNORECASE)
_BLOCK = re.compile(r"```(.*?)```", re.DOTALL)
_ONLY_MARKS = re.compile(rf"\s*(?:{_MARK.pattern}\s*)+", re.IGNORECASE)
_CLOSED = "]]"
_MOST_NESTED = 20  # nested marks; for each, the whole text is searched again
_CODE = "```"
_CELL = "|"
_PAIRS = {**dict(zip("*_~`\"'", "*_~`\"'", strict=True)), "“": "”", "«": "»", "(": ")"}
_ENDED = re.compile(r"[.!?…:][\"'”»)*_~]*\s*\Z")
_ITEM = re.compile(r"[\s*_]*(?:[-*•>]\s|\d{1,3}[.)])")
_NO_LETTER_OF_A_NAME = re.compile(r"[\s_]+")
_EXTENSION = re.compile(r"\.[a-z0-9]{2,4}\Z")
_BLANK = " \t"
_BLANKS = re.compile(rf"[{_BLANK}]+")
_ENDS = "\n.,;:!?)”»"
# What may be left over when a mark is removed: quotation marks, a bullet.
_REST = re.compile(r"(?:```[A-Za-z]{1,20}\n|\d{1,3}[.)](?!\S)|[\s>\"'()\[\]«»“”*_~:.,;|`#!-])*+")
_REST_LINE = re.compile(r"[\s>\"'()«»“”*_~#-]*")
# Markdown that a model may put around a mark: ![Menu](mark), [Menu](mark), ![[image:menu]], and a
# mark with escaped brackets. It is removed.
_SHOWN = re.compile(
    rf"(!?)\[([^\[\]\n]{{0,200}})\]\([ \t]{{0,9}}({_MARK.pattern})[ \t]{{0,9}}\)", re.IGNORECASE
)
_EMBEDDED = re.compile(rf"(?<!\S)!(?={_OPENED.pattern})", re.IGNORECASE)
_ESCAPED = re.compile(rf"\\\[\\\[(\s*+(?:{_KINDS})\s*+:[^\[\]\n]{{0,200}}?)\\\]\\\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """The position in a text where a file of the business is named."""

    name: str


def taken_apart(text: str, known: Collection[str]) -> list[str | Named]:
    """Return the text in pieces, with the files that it names between them.

    No piece contains any part of a mark, and none is empty.
    """
    text = _bare(text)
    whole = _without_unknown(text, known)
    pieces = list(_divided(_on_own_lines(whole)))
    if len(pieces) == 1 and whole == text and not _OPENED.search(text):
        return [text.strip()] if text.strip() else []
    if any(isinstance(piece, str) and _OPENED.search(piece) for piece in pieces):
        pieces = [_unopened(piece) if isinstance(piece, str) else piece for piece in pieces]
    return [
        _without_rest(piece) if isinstance(piece, str) else piece
        for piece in pieces
        if not isinstance(piece, str) or not _REST.fullmatch(piece)
    ]


def _without_rest(piece: str) -> str:
    """Return a piece without the leading and trailing signs that surrounded a mark."""
    lines = piece.split("\n")
    is_said = [not _REST_LINE.fullmatch(line) for line in lines]
    if not any(is_said):
        return piece.strip()
    return "\n".join(lines[is_said.index(True) : len(lines) - is_said[::-1].index(True)]).strip()


def _bare(text: str) -> str:
    """Return the text without the Markdown that surrounds only a mark."""
    text = _EMBEDDED.sub("", _ESCAPED.sub(r"[[\1]]", text))
    return _SHOWN.sub(lambda shown: shown[3] if shown[1] else f"{shown[2]} {shown[3]}", text)


def _divided(text: str) -> Iterator[str | Named]:
    last = 0
    for mark in _MARK.finditer(text):
        yield text[last : mark.start()]
        yield Named(_name_in(mark))
        last = mark.end()
    yield text[last:]


def _name_in(mark: re.Match[str]) -> str:
    """Return the file's stored name: a model may write `Menu do Dia`, or menu-do-dia.jpg."""
    letters = unicodedata.normalize("NFKD", mark[1].replace("\\", "").strip(" \t\"'`*“”«»").lower())
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    return _NO_LETTER_OF_A_NAME.sub("-", _EXTENSION.sub("", plain))


def _on_own_lines(text: str) -> str:
    """Return the text with each mark on a line of its own, after the text that must stay whole."""
    if not _MARK.search(text):
        return text
    lines: list[str] = []
    waiting: list[str] = []
    in_code = False  # or in a table
    for line in _BLOCK.sub(_bared, text).split("\n"):
        told, marks = _taken_off(line)
        in_code ^= line.count(_CODE) % 2 == 1
        if in_code or _CELL in _MARK.sub("", line):
            waiting += marks
            lines += [each for each in told if each not in marks]
        else:
            lines += [*waiting, *told] if _CODE not in line else [*told, *waiting]
            waiting = []
    return "\n".join([*lines, *waiting])


def _bared(block: re.Match[str]) -> str:
    """Return a block of code, or only its content if that is nothing but marks."""
    return block[1].strip() if _ONLY_MARKS.fullmatch(block[1]) else block[0]


def _taken_off(line: str) -> tuple[list[str], list[str]]:
    """Divide one line at its marks. Return the new lines, and which of them are marks.

    A sentence, a list item and a table row stay whole. A file named between two sentences stays
    there.
    """
    if _OPENED.search(_MARK.sub(" ", line)):
        return [line], []  # removing its marks would form another mark
    told: list[str] = []
    found: list[str] = []
    here: list[str] = []
    kept, last = "", 0
    for mark in _MARK.finditer(line):
        start, last_end = _with_its_signs(line, mark.start(), mark.end())
        kept = _joined(kept, line[last : max(start, last)])
        last = last_end
        here.append(mark[0])
        if _may_end(kept, rest := line[last:].strip()):
            kept = kept.rstrip() if rest else _without_last_cell(kept.rstrip())
            told += [*([kept] if kept.strip() else []), *here]
            found += here
            kept, here = "", []
    if not found and not here:
        return [line], []
    kept = _joined(kept, line[last:])
    return [*told, *([kept] if kept.strip() else []), *here], [*found, *here]


def _may_end(before: str, rest: str) -> bool:
    """Whether a file may be placed between `before` and the rest of its line."""
    if not rest or not before.strip():
        return True
    if not _ENDED.search(before.rstrip()[-20:]) or rest[0].islower() or rest[0] in _ENDS:
        return False
    return not _ITEM.match(before) and not _is_open(before)


def _is_open(before: str) -> bool:
    """Whether bold, code, a quotation or a parenthesis began in a line and has not ended yet."""
    said = before.replace("**", "*")  # `**` opens bold just as `*` does
    return any(
        said.count(sign) % 2 if sign == end else said.count(sign) > said.count(end)
        for sign, end in _PAIRS.items()
        if sign not in "_'"  # these also occur within words
    )


def _without_last_cell(row: str) -> str:
    return row[:-1].rstrip() if row.endswith(_CELL) else row


def _with_its_signs(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where a mark begins and ends, with the pairs of signs that surround only it."""
    while start > 0 and end < len(text) and _PAIRS.get(text[start - 1]) == text[end]:
        start, end = start - 1, end + 1
    return start, end


def _without_unknown(text: str, known: Collection[str]) -> str:
    """Return the text without the marks of unknown files; marks may be nested."""
    for _ in range(_MOST_NESTED):
        before, text = text, _cut(text, known)
        if before == text:
            return text
    return _BLANKS.sub(" ", _unopened(text))


def _cut(text: str, known: Collection[str]) -> str:
    kept, last = "", 0
    for mark in _MARK.finditer(text):
        if _name_in(mark) not in known:
            start, end = _with_its_signs(text, mark.start(), mark.end())
            kept = _joined(kept, text[last : max(start, last)])
            last = end
    return _joined(kept, text[last:]) if last else text


def _joined(kept: str, more: str) -> str:
    """Join the texts before and after a removed mark, as if there had been no mark.

    Two words never become one: the text that is sent is the text that was checked.
    """
    more = more.lstrip(_BLANK) if kept else more
    if _ends_with_opening(kept):
        return kept + more
    kept = kept.rstrip(_BLANK)
    if kept.endswith("\n\n"):
        more = more.lstrip("\n")
    is_apart = not kept or kept[-1].isspace() or not more or more[0] in _ENDS
    return kept + ("" if is_apart or _ends_what_began(kept, more) else " ") + more


def _ends_with_opening(kept: str) -> bool:
    """Whether the last signs belong to the word that follows."""
    before = kept.rstrip("".join(_PAIRS))
    return before != kept and (not before or before[-1].isspace())


def _ends_what_began(kept: str, more: str) -> bool:
    """Whether the first signs belong to what is before them."""
    sign = more[0]
    signs = sign * (len(more) - len(more.lstrip(sign)))
    return sign in _PAIRS and kept.count(signs) % 2 == 1


def _unopened(piece: str) -> str:
    """Return a piece without the beginnings and ends of incomplete marks."""
    for _ in range(_MOST_NESTED):
        if not _OPENED.search(piece):
            break
        piece = _OPENED.sub(" ", piece)
    else:
        piece = piece.replace("[[", " ")
    return piece.replace(_CLOSED, " ")
