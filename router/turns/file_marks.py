"""The marks by which a model names a file of the business, found in what it wrote: pure.

A mark is `[[image:NAME]]`, in two brackets. One whose file there is divides the text where it
stands; of any other nothing is left but what stands around it. In one bracket it is a text.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_KINDS = (
    "image|imagem|imagen|foto|photo|picture|file|arquivo|archivo|sticker|figurinha|video|vídeo"
    "|audio|áudio|document|documento"
)
_OPENED = re.compile(rf"\[\[\s*+(?:{_KINDS})\s*+:", re.IGNORECASE)  # +: each space is tried once
_MARK = re.compile(_OPENED.pattern + r"([^\[\]\n]{0,200})\]\]", re.IGNORECASE)
_CLOSED = "]]"
_BLANK = " \t"
_ENDS = "\n.,;:!?)"
# What nobody needs where the file is not in it any more: quotation marks, a bullet.
_REST = re.compile(r"[\s>\"'()\[\]«»“”*_~:.,;|`-]*")
_REST_OF_LINE = re.compile(r"\A[>\"'()«»“”*_~ -]*\n|\n[>\"'()«»“”*_~ -]*\Z")


@dataclass(frozen=True, slots=True)
class Named:
    """Where a file of the business stands in a text."""

    name: str


def taken_apart(text: str, known: Collection[str]) -> list[str | Named]:
    """Return the text in pieces, with the files that it names between them.

    No part of a mark is left in a piece. None is empty.
    """
    whole = _without_unknown(text, known)
    pieces = list(_divided(whole))
    if len(pieces) == 1 and whole == text and not _OPENED.search(text):
        return [text.strip()] if text.strip() else []
    if any(isinstance(piece, str) and _OPENED.search(piece) for piece in pieces):
        pieces = [_unopened(piece) if isinstance(piece, str) else piece for piece in pieces]
    return [
        _REST_OF_LINE.sub("", piece).strip() if isinstance(piece, str) else piece
        for piece in pieces
        if not isinstance(piece, str) or not _REST.fullmatch(piece)
    ]


def _divided(text: str) -> Iterator[str | Named]:
    last = 0
    for mark in _MARK.finditer(text):
        yield text[last : mark.start()]
        yield Named(_name_in(mark))
        last = mark.end()
    yield text[last:]


def _name_in(mark: re.Match[str]) -> str:
    return mark[1].strip().lower()


def _without_unknown(text: str, known: Collection[str]) -> str:
    """Return the text without the marks of what there is not; they may stand in one another."""
    before = None
    while before != text:
        before, text = text, _cut(text, known)
    return text


def _cut(text: str, known: Collection[str]) -> str:
    kept, last = "", 0
    for mark in _MARK.finditer(text):
        if _name_in(mark) not in known:
            kept = _joined(kept, text[last : mark.start()].rstrip(_BLANK))
            last = mark.end()
    return _joined(kept, text[last:]) if last else text


def _joined(kept: str, more: str) -> str:
    """Return what stands before and behind a mark, as if it had never been there.

    Two words do not become one: what is said is what was looked at.
    """
    more = more.lstrip(_BLANK) if kept else more
    if kept.endswith("\n\n"):
        more = more.lstrip("\n")
    is_apart = not kept or kept[-1].isspace() or more[:1] in _ENDS
    return kept + ("" if is_apart else " ") + more


def _unopened(piece: str) -> str:
    """Return a piece without the beginnings and ends of marks that are not whole."""
    while _OPENED.search(piece):
        piece = _OPENED.sub(" ", piece)
    return piece.replace(_CLOSED, " ")
