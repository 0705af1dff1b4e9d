"""Decides which parts of a reply are read aloud, and in which words. Pure.

A voice cannot read formatting, emoji and URLs. Text that people have to copy or look at (a key, a
code, a long number, a table) stays text, and a link follows as text.
"""

import re
from collections.abc import Iterator

from router.whatsapp.splitting import split_reply

MOST_MESSAGES = 6  # of one text; if voice and text alternate more often, the rest is text
MOST_CHARACTERS = 1000  # of one voice message: about a minute; longer texts are better read
_MOST_WRITTEN = 4 * MOST_CHARACTERS  # including formatting; longer texts are not examined
_GAP = re.compile(r"\n[^\S\n]*\n\s*")
_LINK = re.compile(
    r"(?:(?:https?://|www\.)[^\s<>()]*"
    r"|(?<![\w@./-])(?:[a-z0-9][a-z0-9-]{0,62}\.){1,5}"  # without a scheme
    r"(?:(?:com|net|org|gov)(?:\.[a-z]{2})?|br|app|online|shop|store|[a-z]{2,10}(?=/\w))"
    r"(?:[/?][^\s<>()]*)?(?![\w@-])"
    r")(?<![.,;:!?\"'*_~])",
    re.IGNORECASE,
)
_TO_COPY = re.compile(
    r"```|`[^`\n]+`|\|"  # code, tables
    r"|[0-9a-f]{8}-[0-9a-f]{4}-"  # a random key
    r"|\b000201[0-9]{4}"  # a Pix code for copying
    r"|[^\s@]+@[^\s@]+\.\w+"
    r"|(?<!\S)@\w[\w.]{2,}"  # a name in a social network
    r"|#[0-9]{3,}"
    r"|(?<![0-9.,])[0-9]{5,}(?![.,]?[0-9])"  # more digits in a row than a spoken number has
    r"|\b(?:c[oó]digos?|senha|contrase[nñ]a|clave|code|password|pin|protocolo|token|chave pix)\b"
    r"[^\w\n]*(?:\w{1,10}[^\w\n]+){0,4}?[0-9]{3,}"
    r"|\b(?:pedido|orden|order) ?(?:n[uú]mero|number|n[ºo°.]{1,2})?[ :*]{0,3}[0-9]{3,}"
    r"|(?:[0-9][ .()/-]{0,2}){8,}"  # a phone number, a document's number, a bar code
    r"|\b(?=\w*[0-9])(?=\w*[A-Z])[0-9A-Z]{6,}\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"\b(?:0?[1-9]|[12][0-9]|3[01])([/.])(?:0?[1-9]|1[0-2])\1(?:20)?[0-9]{2}\b")
_CODE = re.compile(
    r"\b(?=[0-9A-Z]*[0-9])(?=[0-9A-Z]*[A-Z])[0-9A-Z]{5,}\b|\b[A-Z]{2,}[-/.][0-9]{2,}\b"
)
_MARK = re.compile(r"(?<![^\W_])[*_~]+(?=\S)|(?<=\S)[*_~]+(?![^\W_])")
_BULLET = re.compile(r"^[ \t]*(?:[-*•>·▪●◦–—]|\u2022)(?:[ \t]+|$)", re.MULTILINE)  # noqa: RUF001
_SIGNS = re.compile(
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\ufe00-\ufe0f\u200d\u20e3"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f]"
)
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_NO_STOP = re.compile(r"([^\s.!?…:;,])[ \t]*\n")
_LETTER = re.compile(r"[^\W\d_]")


def read_aloud(text: str) -> str | None:
    """Return the words to read aloud for a text, or None if it stays text."""
    if len(text) > _MOST_WRITTEN:
        return None
    text = _UNSEEN.sub("", text)
    if _LINK.search(text) or _TO_COPY.search(_DATE.sub("", text)) or _CODE.search(text):
        return None
    plain = _SIGNS.sub(" ", _MARK.sub("", _BULLET.sub("", text)))
    spoken = " ".join(_NO_STOP.sub(r"\1. ", plain).split())
    spoken = re.sub(r"\s+([.,;:!?…])", r"\1", spoken)
    if not _LETTER.search(spoken) or len(spoken) > MOST_CHARACTERS:
        return None
    return spoken


def in_voice(text: str) -> tuple[str, ...]:
    """Return the messages of a spoken reply, in order.

    Paragraphs that can be read aloud are joined into one message, up to the maximum length. The
    links that were cut out of them follow as text.
    """
    messages: list[str] = []
    aloud: list[str] = []
    links: list[str] = []

    def end() -> None:
        if aloud:
            messages.append("\n\n".join(aloud))
        if links:
            messages.append("\n".join(dict.fromkeys(links)))
        aloud.clear()
        links.clear()

    for paragraph in _paragraphs(text):
        found = _LINK.findall(paragraph)
        without = _without_links(paragraph) if found else paragraph
        if read_aloud(without) is None:
            end()
            messages.append(paragraph)
            continue
        if sum(map(len, aloud)) + len(without) > MOST_CHARACTERS:
            end()
        aloud.append(without)
        links += found
    end()
    return _few(messages)


def _few(messages: list[str]) -> tuple[str, ...]:
    """Return the messages; if there are too many, the last ones are joined into one text."""
    if len(messages) <= MOST_MESSAGES:
        return tuple(messages)
    rest = "\n\n".join(messages[MOST_MESSAGES - 1 :])
    return (*messages[: MOST_MESSAGES - 1], *split_reply(rest))


def _without_links(paragraph: str) -> str:
    without = re.sub(r"[ \t]{2,}", " ", _LINK.sub("", paragraph))
    without = re.sub(r"[ \t]*[(<\[][ \t]*[)>\]]", "", without)
    return re.sub(r"[ \t]+([.,;:!?])", r"\1", without).strip()


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs; a block of code is one paragraph, even with empty lines."""
    begins, last, fences = 0, 0, 0
    for gap in _GAP.finditer(text):
        fences += text.count("```", last, gap.start())
        last = gap.end()
        if fences % 2 == 0:
            yield text[begins : gap.start()]
            begins = gap.end()
    yield text[begins:]
