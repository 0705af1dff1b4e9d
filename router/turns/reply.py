"""Cuts a reply to WhatsApp's measure."""

import re

WHATSAPP_LIMIT = 4096  # characters of a text message on the Cloud API; Baileys takes more
_FENCE = "```"
# Where a text may be cut, the best place first: a paragraph, a line, a sentence, a word.
_CUTS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…])[\"')\]]*\s+"),
    re.compile(r"\s+"),
)
_SENTENCE_END = re.compile(r"[.!?…][\"')\]*_~]*(?=\s|$)|\n")


def split_reply(text: str, limit: int = WHATSAPP_LIMIT) -> tuple[str, ...]:
    """Return the parts in which `text` is sent, none empty, none over `limit` characters.

    A code block that is cut is closed and opened again. No text: no parts.
    """
    parts: list[str] = []
    rest = text.strip()
    room = limit - 2 * (len(_FENCE) + 1)
    while len(rest) > limit:
        part, rest = _cut(rest, room)
        if part.count(_FENCE) % 2:
            part, rest = f"{part}\n{_FENCE}", f"{_FENCE}\n{rest}"
        parts.append(part)
    return (*parts, rest) if rest else tuple(parts)


def finish_truncated(text: str) -> str:
    """Return a reply that ran into the token limit, cut back to where a sentence ends.

    A text without an end in its second half is kept, with an ellipsis.
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if ends and ends[-1] > len(text) / 2:
        return text[: ends[-1]].rstrip()
    return f"{text.rstrip()}…"


def _cut(text: str, room: int) -> tuple[str, str]:
    for cut in _CUTS:
        places = [match for match in cut.finditer(text, 0, room + 1) if match.start() > room // 3]
        if places:
            last = places[-1]
            if last.start() <= room:
                return text[: last.start()].rstrip(), text[last.end() :].lstrip()
    return text[:room], text[room:].lstrip()
