"""Reads the text and pictures of a PDF, in the program that opens files (`decoder`).

Each page is read separately: a broken page does not affect the others, and a scanned page becomes a
picture even if other pages have text.
"""

from typing import Any

from router.senses.decoded_pictures import LONGEST_SIDE, jpeg
from router.senses.decoded_written import MOST_CHARACTERS, Answer, cut
from router.senses.refusals import Refused

MOST_PAGES = 10
MOST_PICTURES = 3  # pages without text
_SOME_TEXT = 20  # characters; even a scanned page may have a page number as text
_PASSWORD = 4  # FPDF_ERR_PASSWORD


def pdf(content: bytes) -> Answer:
    """Return the text, pictures of the pages without text, and the numbers of unreadable pages."""
    import pypdfium2

    answer: Answer = {"what": "PDF"}
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) != _PASSWORD:
            raise
        return answer | {"is_locked": True}
    pages = len(document)
    texts = {number: _text_of(document, number) for number in range(min(pages, MOST_PAGES))}
    text = "\n".join(each for each in texts.values() if each).strip()
    has_text = _is_some(text)
    to_be_seen = [
        number
        for number, each in texts.items()
        if each is not None and (not has_text or _is_to_be_seen(document[number], each))
    ]
    pictures: dict[int, str] = {}
    for number in to_be_seen:
        shown = _shown(document, number)
        pictures |= {} if shown is None else {number: shown}
        if len(pictures) == MOST_PICTURES:
            break
    if not has_text and not pictures:
        raise Refused("none of its pages can be opened")
    read = len(texts) if has_text else max(pictures) + 1
    unread = [n for n in range(read) if n not in pictures and (texts[n] is None or n in to_be_seen)]
    answer |= {"pages": pages, "pages_read": read, "pictures": list(pictures.values())}
    answer["pages_unread"] = [number + 1 for number in unread]
    if not has_text:
        return answer
    return answer | {"pages_seen": [number + 1 for number in pictures]} | cut(text)


def _is_some(text: str) -> bool:
    return len("".join(text.split())) >= _SOME_TEXT


def _text_of(document: Any, number: int) -> str | None:
    """Return a page's text, or None if the page is broken."""
    import pypdfium2

    try:
        text: str = document[number].get_textpage().get_text_bounded()
    except pypdfium2.PdfiumError:
        return None
    return text.replace("\r", "")[: 2 * MOST_CHARACTERS]


def _is_to_be_seen(page: Any, text: str) -> bool:
    """Whether the page has hardly any text, but other content: a scan or a drawing."""
    from pypdfium2.raw import FPDF_PAGEOBJ_TEXT

    if _is_some(text):
        return False
    return any(each.type != FPDF_PAGEOBJ_TEXT for each in page.get_objects(max_depth=3))


def _shown(document: Any, number: int) -> str | None:
    """Return a picture of a page, or None if the page is broken."""
    import pypdfium2

    try:
        page = document[number]
        width, height = page.get_size()
        scale = LONGEST_SIDE / max(width, height, 1)
        return jpeg(page.render(scale=min(scale, 4)).to_pil().convert("RGB"))
    except pypdfium2.PdfiumError:
        return None
