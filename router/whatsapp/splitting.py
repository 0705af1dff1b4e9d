"""Cuts a reply to WhatsApp's lengths."""

import re

WHATSAPP_LIMIT = 4096  # characters of a text message on the Cloud API; Baileys accepts more
_FENCE = "```"
_NEWLINES = "\r\n"  # what is removed at a cut in code; the line's indentation must stay
# Where a text may be cut, best first: after a paragraph, a line, a sentence, a word.
_CUTS = (
    re.compile(r"(?P<gap>\n\s*\n)"),
    re.compile(r"(?P<gap>\n)"),
    re.compile(r"[.!?…][\"')\]*_~]*(?P<gap>\s+)"),
    re.compile(r"(?P<gap>\s+)"),
)
_SENTENCE_END = re.compile(r"[.!?…][\"')\]*_~]*(?=\s|$)|\n")
_NUMBER_OF_ITEM = re.compile(r"(?:^|\n)[ >*_~]*[0-9]{1,9}[.)]\Z")


def split_reply(text: str, limit: int = WHATSAPP_LIMIT) -> tuple[str, ...]:
    """Divide `text` into parts that are not empty and not longer than `limit` (32 or more).

    A code block that is cut is closed and opened again. An empty text has no parts.
    """
    parts: list[str] = []
    rest = text.strip()
    room = limit - 2 * (len(_FENCE) + 1)
    while len(rest) > limit:
        part, rest = _cut(rest, room)
        if part.count(_FENCE) % 2:
            part, rest = _cut_in_code(part, rest)
        else:
            rest = rest.lstrip()
        parts.append(part)
    return tuple(part for part in (*parts, rest) if part)


def finish_truncated(text: str) -> str:
    """Return a reply that reached the token limit, cut back to the end of a sentence.

    If no sentence ends in its second half, the text is kept, with an ellipsis.
    """
    text = text.strip()
    ends = [m.end() for m in _SENTENCE_END.finditer(text) if not _ends_with_number(text, m.end())]
    if ends and ends[-1] > len(text) / 2:
        return text[: ends[-1]].rstrip()
    return f"{text}…"


def _ends_with_number(text: str, end: int) -> bool:
    """Whether the text ends there with the number of a list item, which is not a sentence."""
    return _NUMBER_OF_ITEM.search(text[max(0, end - 20) : end]) is not None


def _cut(text: str, room: int) -> tuple[str, str]:
    for cut in _CUTS:
        gaps = [
            match.span("gap")
            for match in cut.finditer(text, 0, room + 1)
            if not _ends_with_number(text, match.start("gap"))
        ]
        if gaps and gaps[-1][0] > room // 3:
            start, end = gaps[-1]
            return text[:start].rstrip(), text[end:]
    end = room
    while end > room // 2 and text[end - 1] == text[end] == "`":  # not within a code fence
        end -= 1
    return text[:end], text[end:]


def _cut_in_code(part: str, rest: str) -> tuple[str, str]:
    """Close the block at the cut and open it again after it, unless it begins or ends there."""
    if part.endswith(_FENCE):
        return part.removesuffix(_FENCE).rstrip(), f"{_FENCE}\n{rest.lstrip(_NEWLINES)}"
    closed = f"{part}\n{_FENCE}"
    if rest.lstrip().startswith(_FENCE):
        return closed, rest.lstrip().removeprefix(_FENCE).lstrip()
    return closed, f"{_FENCE}\n{rest.lstrip(_NEWLINES)}"
