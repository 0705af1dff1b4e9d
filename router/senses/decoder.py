"""A program that opens one file of a stranger's and says what is in it; run with limits, then gone.

It is started by its path, with nothing of HybridFlow's in its environment, reads the file from its
input and writes one JSON object. Files are hostile: whatever a library does with one, it does it
here, with so much memory and so much time. What it cannot open it refuses in a few words.

    python -I decoder.py file|sound|video|voice < file > answer
"""

import base64
import io
import json
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Started by its path, and apart from everything else, it finds its own folder.
sys.path.insert(0, str(Path(__file__).parents[2]))

from router.senses.expendable import be_expendable
from router.senses.refusals import Refused

MOST_MEMORY = 1_500_000_000  # bytes of addresses, most of which are libraries
MOST_SECONDS = 12  # of the processor
MOST_PIXELS = 60_000_000  # of a picture before it is scaled: what a phone takes has up to 50
LONGEST_SIDE = 1024  # pixels: what is larger costs models more and shows them no more
MOST_PAGES = 10
MOST_PICTURES = 3  # pages of a document without text
MOST_CHARACTERS = 12_000
_MOST_UNPACKED = 60_000_000  # bytes of a document that is an archive
_MOST_MEMBERS = 3_000
_ROWS = 200
_SHEETS = 5
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")

Answer = dict[str, Any]


def main() -> None:
    """Read, open, answer."""
    _limit()
    content = sys.stdin.buffer.read()
    try:
        answer = _WAYS[sys.argv[1]](content)
    except Refused as refused:
        answer = {"refused": str(refused)}
    except MemoryError:
        answer = {"refused": "it takes too much memory"}
    except Exception as error:  # noqa: BLE001 - whatever a library raises at a broken file
        answer = {"refused": f"it cannot be opened ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


def opened(content: bytes) -> Answer:
    """Return what is in a file: `pictures`, JPEGs in base64, and/or `text`; and what it is."""
    if content[:1024].lstrip().startswith(b"%PDF-"):
        return _pdf(content)
    if content[:4] == b"PK\x03\x04":
        return _archive(content)
    if _is_text(content):
        return {"what": "text", **_cut(content.decode("utf-8", "replace"))}
    return {"what": "picture", "pictures": [_picture(content)]}


def _heard(content: bytes) -> Answer:
    from router.senses.decoded_sound import sound_in

    return {"what": "sound", **sound_in(content)}


def _watched(content: bytes) -> Answer:
    from router.senses.decoded_sound import video_in

    seen = video_in(content)
    pictures = [_jpeg(each) for each in seen.pop("frames")]
    return {"what": "video", "pictures": pictures, **seen}


def _to_be_sent(content: bytes) -> Answer:
    from router.senses.decoded_sound import voice_in

    return {"what": "voice", **voice_in(content)}


_WAYS: Mapping[str, Callable[[bytes], Answer]] = {
    "file": opened,
    "sound": _heard,
    "video": _watched,
    "voice": _to_be_sent,
}


def _limit() -> None:
    be_expendable()
    most = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: MOST_SECONDS,
        resource.RLIMIT_AS: MOST_MEMORY,
        resource.RLIMIT_FSIZE: 0,
    }
    for what, number in most.items():
        try:
            resource.setrlimit(what, (number, number))
        except (OSError, ValueError):  # some systems know no limit of addresses
            continue


def _picture(content: bytes) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        raise Refused("it is not of a known kind") from None
    except Image.DecompressionBombError:
        raise Refused("the picture has too many pixels") from None
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"a picture of {image.width} x {image.height} pixels is too large")
    return _jpeg(_still(image))


def _still(image: Any) -> Any:
    """Return one picture; of one that moves, its first and its middle frame beside each other."""
    frames = min(getattr(image, "n_frames", 1), 200)
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded no larger than need be
    first = _plain(image)
    if frames < 3 or image.width * image.height > 4_000_000:
        return first
    image.seek(frames // 2)
    return _beside(first, _plain(image))


def _beside(left: Any, right: Any) -> Any:
    from PIL import Image

    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def _plain(image: Any) -> Any:
    """Return it upright, scaled, and on white where it is transparent."""
    from PIL import Image, ImageOps

    image = image.copy()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB")


def _jpeg(image: Any) -> str:
    """Return it as a JPEG in base64: made anew, with nothing of the file in it."""
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=80)
    return base64.b64encode(kept.getvalue()).decode()


def _pdf(content: bytes) -> Answer:
    import pypdfium2

    document = pypdfium2.PdfDocument(content)
    pages = len(document)
    read = min(pages, MOST_PAGES)
    text = "\n".join(_text_of(document[number]) for number in range(read)).strip()
    answer: Answer = {"what": "PDF", "pages": pages}
    if len("".join(text.split())) >= 20 or not pages:
        return answer | {"pages_read": read} | _cut(text)
    shown = min(pages, MOST_PICTURES)
    return answer | {
        "pages_read": shown,
        "pictures": [_jpeg(_page(document[number])) for number in range(shown)],
    }


def _text_of(page: Any) -> str:
    text: str = page.get_textpage().get_text_bounded()
    return text.replace("\r", "")[: 2 * MOST_CHARACTERS]


def _page(page: Any) -> Any:
    width, height = page.get_size()
    scale = LONGEST_SIDE / max(width, height, 1)
    return page.render(scale=min(scale, 4)).to_pil().convert("RGB")


def _archive(content: bytes) -> Answer:
    """Open a document of Word or Excel; both are archives, whose members may be bombs."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise Refused("its archive is broken") from None
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS or sum(each.file_size for each in members) > _MOST_UNPACKED:
        raise Refused("it is too large when unpacked")
    names = {each.filename for each in members}
    readers: Mapping[str, tuple[str, Callable[[bytes], Iterator[str]]]] = {
        "word/document.xml": ("Word document", _word),
        "xl/workbook.xml": ("Excel sheet", _excel),
    }
    for name, (what, read) in readers.items():
        if name in names:
            return {"what": what, **_cut(_joined(read(content)))}
    raise Refused("an archive is not opened")


def _word(content: bytes) -> Iterator[str]:
    import docx
    from docx.table import Table

    for block in docx.Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            yield from (" | ".join(cell.text for cell in row.cells) for row in block.rows)
        else:
            yield block.text


def _excel(content: bytes) -> Iterator[str]:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    for sheet in book.worksheets[:_SHEETS]:
        yield f"Sheet {sheet.title}:"
        for row in sheet.iter_rows(max_row=_ROWS, max_col=50, values_only=True):
            cells = [str(cell) for cell in row if cell is not None]
            if cells:
                yield " | ".join(cells)


def _joined(lines: Iterator[str]) -> str:
    """Return the lines, as many as are read."""
    kept: list[str] = []
    length = 0
    for line in lines:
        kept.append(line)
        length += len(line)
        if length > MOST_CHARACTERS:
            break
    return "\n".join(kept)


def _cut(text: str) -> Answer:
    text = text.strip()
    if len(text) <= MOST_CHARACTERS:
        return {"text": text}
    return {"text": text[:MOST_CHARACTERS], "is_cut": True}


def _is_text(content: bytes) -> bool:
    """Whether it is plain text: all that can be seen of it is UTF-8 without control characters."""
    try:
        start = content[:4096].decode("utf-8", "ignore" if len(content) > 4096 else "strict")
    except UnicodeDecodeError:
        return False
    return bool(start.strip()) and all(sign.isprintable() or sign in "\r\n\t\f" for sign in start)


if __name__ == "__main__":
    main()
