"""Converts Markdown, as LLMs write it, into WhatsApp's few marks.

WhatsApp has only *bold*, _italic_, ~struck~, `code`, ```blocks```, "- " lists, "1. " lists and "> "
quotes. A single star stays unchanged: in WhatsApp it means bold, and the model may have meant that.
In a text that also has Markdown's bold, it must have meant italics.
"""

import re
from collections.abc import Sequence

from markdown_it.token import Token

from router.whatsapp.chat_markdown import chat_parser

# In scripts without spaces between words, a mark between two letters does not divide a word.
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_MARKS = {"strong_open": "*", "strong_close": "*", "s_open": "~", "s_close": "~"}
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_LONGEST = 50_000  # characters


def to_whatsapp(text: str) -> str:
    """Return the text with WhatsApp's marks.

    Plain text stays unchanged except outer white space, and so does a text longer than any reply.
    """
    text = text.strip()
    return text if len(text) > _LONGEST else _blocks(chat_parser().parse(text)).strip()


def _blocks(tokens: Sequence[Token]) -> str:
    pieces: list[str] = []
    place = 0
    while place < len(tokens):
        end = _end_of(tokens, place)
        pieces.append(_block(tokens[place], tokens[place + 1 : end]))
        place = end + 1
    return "\n\n".join(piece for piece in pieces if piece)


def _end_of(tokens: Sequence[Token], start: int) -> int:
    """Return the index of the token that closes the one at `start`."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += tokens[place].nesting
        if depth == 0:
            return place
    return len(tokens) - 1


def _block(opening: Token, inner: Sequence[Token]) -> str:
    match opening.type:
        case "heading_open":
            return _bold(_inline(inner, in_bold=True))
        case "paragraph_open":
            return _inline(inner)
        case "fence":
            code = opening.content.rstrip()
            return f"```\n{code}\n```" if code else ""
        case "blockquote_open":
            quoted = _blocks(inner)
            return "\n".join(f"> {line}".rstrip() for line in quoted.split("\n") if quoted)
        case "bullet_list_open":
            return _list(inner, ["- "] * _items(inner))
        case "ordered_list_open":
            return _list(inner, _numbers(inner))
        case "table_open":
            return _table(inner)
        case _:  # a horizontal rule, and other purely visual elements
            return _inline([opening]) if opening.type == "inline" else ""


def _openings(tokens: Sequence[Token]) -> list[Token]:
    """Return the opening token of each item of a list, without those of nested lists."""
    return [
        token
        for token in tokens
        if token.type == "list_item_open" and token.level == tokens[0].level
    ]


def _items(tokens: Sequence[Token]) -> int:
    return len(_openings(tokens)) if tokens else 0


def _numbers(tokens: Sequence[Token]) -> list[str]:
    """Return the numbers of a list as written, because the customer may choose by them.

    If all are the same, as Markdown allows, the items are counted.
    """
    items = _openings(tokens) if tokens else []
    written = [item.info or "1" for item in items]
    if len(written) > 1 and len(set(written)) == 1:
        written = [str(int(written[0]) + place) for place in range(len(written))]
    return [f"{number}{item.markup} " for number, item in zip(written, items, strict=True)]


def _list(tokens: Sequence[Token], marks: Sequence[str]) -> str:
    lines: list[str] = []
    place = number = 0
    while place < len(tokens):
        end = _end_of(tokens, place)
        mark = marks[number]
        body = _item(tokens[place + 1 : end])
        first, *rest = body.split("\n")
        lines += [mark + first, *(f"   {line}".rstrip() for line in rest)]
        place, number = end + 1, number + 1
    return "\n".join(lines)


def _item(tokens: Sequence[Token]) -> str:
    return _blocks(tokens).replace("\n\n", "\n")


def _table(tokens: Sequence[Token]) -> str:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline([token], in_bold=len(rows) == 1))
    lines = [" | ".join(cell for cell in row if cell) for row in rows]
    head, *body = lines or [""]
    return "\n".join(line for line in (_bold(head), *body) if line)


def _bold(text: str) -> str:
    return f"*{text}*" if text else ""


def _inline(tokens: Sequence[Token], *, in_bold: bool = False) -> str:
    return "".join(
        _span(token.children or [], in_bold=in_bold) for token in tokens if token.type == "inline"
    )


def _span(children: Sequence[Token], *, in_bold: bool) -> str:
    out: list[str] = []
    links: list[tuple[str, int]] = []
    marked: list[int] = []  # the positions of the open marks in `out`
    star_is_italic = in_bold or any(token.type == "strong_open" for token in children)
    for place, token in enumerate(children):
        match token.type:
            case "strong_open" | "s_open":
                is_twice = any(out[at] == _MARKS[token.type] for at in marked)
                is_shown = not is_twice and not (in_bold and token.type == "strong_open")
                marked.append(len(out))
                out.append(_MARKS[token.type] if is_shown else "")
            case "strong_close" | "s_close":
                _close_mark(out, marked.pop(), _first_of(children, place + 1))
            case "em_open" | "em_close":
                out.append("_" if star_is_italic else token.markup)
            case "code_inline":
                out.append(f"`{token.content}`")
            case "link_open":
                links.append((str(token.attrGet("href") or ""), len(out)))
            case "link_close":
                _close_link(out, *links.pop())
            case "image":
                out.append(_titled(token.content, str(token.attrGet("src") or "")))
            case "softbreak" | "hardbreak":
                out.append("\n")
            case _:
                out.append(_LINE_BREAK.sub("\n", token.content))
    return "".join(out)


def _first_of(tokens: Sequence[Token], begin: int) -> str:
    """Return the first character of the tokens from `begin` on, or a space if there is none."""
    for at in range(begin, len(tokens)):  # not a slice, which would copy all tokens for each mark
        token = tokens[at]
        if token.type in ("softbreak", "hardbreak"):
            return " "
        if token.content:
            return "`" if token.type == "code_inline" else token.content[0]
        if token.type in _MARKS:
            return _MARKS[token.type]
    return " "


def _close_mark(out: list[str], begin: int, after: str) -> None:
    """Close the mark that was opened at `begin`.

    WhatsApp only recognises a mark between a letter and another character. If needed, a space is
    inserted, unless that would divide a word: then the mark is dropped, because WhatsApp would show
    it as a star.
    """
    mark, inner = out[begin], "".join(out[begin + 1 :])
    if not mark or not inner:
        out[begin] = ""
        return
    before = next((out[at][-1] for at in range(begin - 1, -1, -1) if out[at]), " ")
    left, right = _gap(before, inner[0]), _gap(after, inner[-1])
    if left is None or right is None:
        out[begin:] = [inner]
    else:
        out[begin:] = [left + mark, inner, mark + right]


def _gap(outer: str, inner: str) -> str | None:
    """Return the text to insert at a mark between the two; None if it would divide a word."""
    if not outer.isalnum():
        return ""
    if not inner.isalnum() or _IDEOGRAPH.match(outer) or _IDEOGRAPH.match(inner):
        return " "
    return None


def _close_link(out: list[str], href: str, begin: int) -> None:
    label = "".join(out[begin:])
    out[begin:] = [_titled(label, href)]


def _titled(label: str, address: str) -> str:
    bare = address.removeprefix("mailto:").removeprefix("tel:")
    if not label or label in (address, bare):
        return label or bare
    return f"{label} ({bare})" if bare else label
