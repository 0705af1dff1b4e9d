"""Markdown, as LLMs write it, into the few marks that WhatsApp shows.

WhatsApp knows *bold*, _italic_, ~struck~, `code`, ```blocks```, "- " lists, "1. " lists and "> "
quotes, and nothing else. A single star is left as it is: in WhatsApp's own way it means bold, and
its author may have known that. Beside Markdown's bold it can only have meant italics.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline, image, link
from markdown_it.token import Token

Rule: TypeAlias = Callable[[StateInline, bool], bool]

_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_LONGEST = 50_000  # characters
_MOST_BRACKETS = 100  # of one paragraph
_MOST_WORK = 500_000  # brackets times characters of one paragraph
_MOST_CELLS = 5_000  # lines times the columns of the widest line
_DEEPEST = 100  # nested blocks; what is deeper is left out, and nobody writes so


def to_whatsapp(text: str) -> str:
    """Return the text with WhatsApp's marks; plain text as it is, except outer space.

    So is a text that is longer than any reply.
    """
    text = text.strip()
    return text if len(text) > _LONGEST else _blocks(_parser().parse(text)).strip()


@cache
def _parser() -> MarkdownIt:
    # Indented text is no code in a chat, and its HTML is nothing but text.
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _DEEPEST}).enable(
        ["table", "strikethrough"]
    )
    parser.inline.ruler.at("link", _unless_absurd(link))
    parser.inline.ruler.at("image", _unless_absurd(image))
    parser.block.ruler.at("table", _table_unless_absurd, {"alt": ["paragraph", "reference"]})
    return parser.disable(["code", "html_block", "html_inline", "lheading", "reference"])


def _unless_absurd(rule: Rule) -> Rule:
    """Return the rule of links, that takes no brackets for a link where there are absurdly many.

    Each bracket has the rest of its paragraph looked at, for where it closes.
    """

    def bounded(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
        if state.src[state.pos] not in "[!":
            return False
        if state.env.get("counted") is not state.src:
            state.env["counted"] = state.src
            brackets, length = state.src.count("["), len(state.src)
            state.env["absurd"] = brackets > _MOST_BRACKETS or brackets * length > _MOST_WORK
        return not state.env["absurd"] and rule(state, silent)

    return bounded


def _table_unless_absurd(
    state: StateBlock,
    start: int,
    end: int,
    silent: bool,  # noqa: FBT001 - the library's form
) -> bool:
    """Take nothing for a table in a text with absurdly many cells.

    Each line under a table's head is a row that has all of its columns, written or not.
    """
    if "wide" not in state.env:
        lines = state.src.split("\n")
        state.env["wide"] = max(line.count("|") for line in lines) * len(lines) > _MOST_CELLS
    return not state.env["wide"] and table(state, start, end, silent)


def _blocks(tokens: Sequence[Token]) -> str:
    pieces: list[str] = []
    place = 0
    while place < len(tokens):
        end = _end_of(tokens, place)
        pieces.append(_block(tokens[place], tokens[place + 1 : end]))
        place = end + 1
    return "\n\n".join(piece for piece in pieces if piece)


def _end_of(tokens: Sequence[Token], start: int) -> int:
    """Return the place of the token that closes the one at `start`."""
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
            return _list(inner, start=None)
        case "ordered_list_open":
            return _list(inner, start=int(opening.attrGet("start") or 1))
        case "table_open":
            return _table(inner)
        case _:  # a rule, and whatever else is only for the eye
            return _inline([opening]) if opening.type == "inline" else ""


def _list(tokens: Sequence[Token], start: int | None) -> str:
    lines: list[str] = []
    place = number = 0
    while place < len(tokens):
        end = _end_of(tokens, place)
        mark = "- " if start is None else f"{start + number}{tokens[place].markup} "
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
    star_is_italic = in_bold or any(token.type == "strong_open" for token in children)
    for token in children:
        match token.type:
            case "strong_open" | "strong_close":
                out.append("" if in_bold else "*")
            case "em_open" | "em_close":
                out.append("_" if star_is_italic else token.markup)
            case "s_open" | "s_close":
                out.append("~")
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


def _close_link(out: list[str], href: str, begin: int) -> None:
    label = "".join(out[begin:])
    out[begin:] = [_titled(label, href)]


def _titled(label: str, address: str) -> str:
    bare = address.removeprefix("mailto:").removeprefix("tel:")
    if not label or label in (address, bare, unquote(bare)):
        return label or bare
    return f"{label} ({bare})" if bare else label
