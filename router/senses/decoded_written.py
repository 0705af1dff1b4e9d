"""Reads the text of text and office files, in the program that opens files (`decoder`).

Word and PowerPoint files are read piece by piece, without a tree in memory, until there is enough
text: a document of a hundred kilobytes may unpack to millions of paragraphs.
"""

import codecs
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any
from xml.parsers import expat

from router.senses.refusals import Refused

MOST_CHARACTERS = 12_000
_MOST_UNPACKED = 60_000_000  # bytes of a document in an archive
_MOST_MEMBERS = 3_000
_STEP = 65_536
_ROWS = 200  # of a sheet that are used
_ROWS_LOOKED_AT = 20_000  # of a sheet that are read, because most may be empty
_COLUMNS = 50
_SHEETS = 5
_LOOKED_AT = 4096  # bytes at the beginning of a text
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENCODINGS = ("utf-8", "cp1252")  # Excel in the Americas writes CSV files in the second one
_IN_TEXTS = frozenset("\t\n\v\f\r")
_LEFT_OUT = frozenset(("moveFrom", "Fallback"))
"""Elements whose text is not read: moved text, and older alternatives beside newer ones."""
_WITHIN = {"br": "\n", "cr": "\n", "tab": "\t", "ptab": "\t", "noBreakHyphen": "-"}
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_WRITTEN = re.compile(r"word/document[0-9]{0,4}\.xml")
_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

Answer = dict[str, Any]


def text_of(content: bytes) -> str | None:
    """Return plain text, or None if the content is not plain text: it has control characters."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _readable(content[len(mark) :], encoding)
    if content[:_LOOKED_AT].isascii() and _is_not_utf_8(content):
        return _readable(content, "cp1252")
    texts = (_readable(content, encoding) for encoding in _ENCODINGS)
    return next((text for text in texts if text is not None), None)


def _readable(content: bytes, encoding: str) -> str | None:
    """Return the text if its beginning is valid in this encoding; later errors are replaced."""
    start, is_all = content[:_LOOKED_AT], len(content) <= _LOOKED_AT
    try:
        seen = codecs.getincrementaldecoder(encoding)().decode(start, final=is_all)
    except UnicodeDecodeError:
        return None
    if not seen.strip() or any(_is_control(sign) for sign in seen):
        return None
    return content.decode(encoding, "replace")


def _is_not_utf_8(content: bytes) -> bool:
    """Whether most of the non-ASCII characters are invalid as UTF-8.

    All of the text is examined: a long table may have its first accent far below.
    """
    broken = content.decode("utf-8", "replace").count("\ufffd")
    whole = content.decode("utf-8", "ignore")
    return broken > len(whole) - len(whole.encode("ascii", "ignore"))


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) == "Cc" and sign not in _IN_TEXTS


def is_locked_office(content: bytes) -> bool:
    """Whether this is a document of a current Office version with a password."""
    return content.startswith(_OLD) and _LOCKED in content


def office(content: bytes) -> Answer:
    """Open an archive with an office document; its members may be zip bombs. Raises Refused."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise Refused("its archive is broken") from None
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS or sum(each.file_size for each in members) > _MOST_UNPACKED:
        raise Refused("it is too large when unpacked")
    names = {each.filename for each in members}
    if "xl/workbook.xml" in names:
        return {"what": "Excel sheet", **_sheets(content)}
    if (written := _written_in(names)) is not None:
        return {"what": "Word document", **cut(_joined(_Paragraphs().read(archive, written)))}
    if "ppt/presentation.xml" in names:
        return {"what": "PowerPoint", **cut(_joined(_slides(archive)))}
    raise Refused("an archive is not opened")


def _written_in(names: Iterable[str]) -> str | None:
    """Return the member with a Word document's text; Word Online adds a number to its name."""
    return min(filter(_WRITTEN.fullmatch, names), default=None)


def _slides(archive: zipfile.ZipFile) -> Iterator[str]:
    found = (each.removeprefix("ppt/slides/slide") for each in archive.namelist())
    numbers = (each.removesuffix(".xml") for each in found)
    for number in sorted(int(each) for each in numbers if each.isdecimal()):
        yield f"Slide {number}:"
        yield from _Paragraphs().read(archive, f"ppt/slides/slide{number}.xml")


class _Paragraphs:
    """The paragraphs of one member, wherever they are: in forms, tables, boxes, changes.

    Elements are recognised by their local names only, because there are two sets of namespaces, and
    foreign ones among them.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._frames: list[list[str]] = []  # open table rows, and the cells in them
        self._said: list[str] = []
        self._inside: list[str] = []
        self._left_out = 0
        self._length = 0  # of the finished text

    def read(self, archive: zipfile.ZipFile, name: str) -> Iterator[str]:
        """Yield one paragraph after the other. Raises Refused."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._say
        parser.StartDoctypeDeclHandler = _no_entities
        with archive.open(name) as member:
            while piece := member.read(_STEP):
                parser.Parse(piece, False)  # noqa: FBT003 - expat has no keyword arguments
                yield from self._given()
                if self._length > MOST_CHARACTERS:
                    yield from self._broken_off()
                    return
            parser.Parse(b"", True)  # noqa: FBT003
            yield from self._given()

    def _given(self) -> list[str]:
        given, self._lines = self._lines, []
        return given

    def _broken_off(self) -> list[str]:
        """Return the rest of the text: the last row or paragraph may have no end."""
        self._end_line()
        while self._inside:
            self._end(self._inside[-1])
        return self._given()

    def _begin(self, element: str, _: object) -> None:
        name = _local(element)
        parent = self._inside[-1] if self._inside else ""
        self._inside.append(name)
        self._left_out += name in _LEFT_OUT
        if name in ("tr", "tc"):
            self._frames.append([])
        elif name == "txbxContent":
            self._end_line()
        elif name in _WITHIN and parent in ("r", "p") and not self._left_out:
            self._said.append(_WITHIN[name])

    def _end(self, element: str) -> None:
        name = _local(element)
        self._inside.pop()
        self._left_out -= name in _LEFT_OUT
        if name == "p":
            self._end_line()
        elif name == "tc":
            self._write(" ".join(self._frames.pop()))
        elif name == "tr" and any(cells := self._frames.pop()):
            self._write(" | ".join(cells))

    def _say(self, text: str) -> None:
        if self._inside and self._inside[-1] == "t" and not self._left_out:
            self._said.append(text)
            self._length += len(text) - text.count(" ")

    def _end_line(self) -> None:
        line, self._said = "".join(self._said).strip(" "), []
        if line:
            self._write(line)

    def _write(self, line: str) -> None:
        if self._frames:
            self._frames[-1].append(line)
        else:
            self._lines.append(line)


def _local(element: str) -> str:
    return element.rpartition(" ")[2]


def _no_entities(*_: object) -> None:
    raise Refused("its XML has a document type, which no office program writes")


def _sheets(content: bytes) -> Answer:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    lines: list[str] = []
    is_cut = len(book.worksheets) > _SHEETS
    for sheet in book.worksheets[:_SHEETS]:
        if sum(map(len, lines)) > MOST_CHARACTERS:  # even a sheet of empty rows takes seconds
            is_cut = True
            break
        lines.append(f"Sheet {sheet.title}:")
        rows, rest = _rows_of(sheet)
        lines += rows
        is_cut = is_cut or rest
    answer = cut(_joined(iter(lines)))
    return answer | {"is_cut": True} if is_cut else answer


def _rows_of(sheet: Any) -> tuple[list[str], bool]:
    """Return the rows that are not empty, and whether there are more than are read."""
    sheet.reset_dimensions()  # a sheet may declare any size
    kept: list[str] = []
    is_cut = False
    for number, row in enumerate(sheet.iter_rows(max_col=_COLUMNS + 1, values_only=True)):
        if number >= _ROWS_LOOKED_AT:
            return kept, True
        cells = [str(cell) for cell in row[:_COLUMNS] if cell is not None]
        is_cut = is_cut or any(cell is not None for cell in row[_COLUMNS:])
        if cells and len(kept) == _ROWS:
            return kept, True
        if cells:
            kept.append(" | ".join(cells))
    return kept, is_cut


def _joined(lines: Iterator[str]) -> str:
    """Join the lines, up to the limit."""
    kept: list[str] = []
    length = 0
    for line in lines:
        kept.append(line)
        length += len(line)
        if length > MOST_CHARACTERS:
            break
    return "\n".join(kept)


def cut(text: str) -> Answer:
    """Return the answer for a text, cut to the limit."""
    text = text.strip()
    if len(text) <= MOST_CHARACTERS:
        return {"text": text}
    return {"text": text[:MOST_CHARACTERS], "is_cut": True}
