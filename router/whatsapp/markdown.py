"""Markdown, as LLMs write it, into the few marks that WhatsApp shows.

WhatsApp knows *bold*, _italic_, ~struck~, `code`, ```blocks```, "- " lists, "1. " lists and "> "
quotes, and nothing else. A single star is left as it is: in WhatsApp's own way it means bold, and
its author may have known that. Beside Markdown's bold it can only have meant italics.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

from markdown_it import MarkdownIt
from markdown_it.common.utils import isPunctChar, isWhiteSpace
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline, image, link
from markdown_it.rules_inline.state_inline import Delimiter
from markdown_it.token import Token

Rule: TypeAlias = Callable[[StateInline, bool], bool]

# Where words are not parted by spaces, a mark stands between two letters, and neither is cut.
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_SCHEME = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}\Z")
# Chinese and Japanese write on after an address without a space; their signs stand in none.
_OF_ADDRESS = r"[^\s<>\[\]\\`\"\u3000-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]"
_REST_OF_ADDRESS = re.compile(rf"://{_OF_ADDRESS}{{1,4000}}")
_MARK_AFTER_ADDRESS = re.compile(r"[.,;:!?)'](?:\*\*|__)(?=\S)")
_AFTER_ADDRESS = "*_~.,;:!?)'"  # at its end, where they belong to what stands around it
# Without a scheme: a name, and a path so far as there is no mark in it.
_BARE_NAME = re.compile(
    r"(?<![\w.@/-])(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?::[0-9]{1,5})?/[^\s<>\[\]`\"*]*\Z"
)
_BARE_MARKS = "_~&"  # a star is rather a mark of Markdown's
_REST_OF_BARE = re.compile(rf"{_OF_ADDRESS}{{1,4000}}")
_LONGEST_BARE = 300  # characters of a path before its first mark
_MARKS = {"strong_open": "*", "strong_close": "*", "s_open": "~", "s_close": "~"}
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
    parser = _Chat("commonmark", {"html": False, "maxNesting": _DEEPEST}).enable(
        ["table", "strikethrough"]
    )
    parser.inline.ruler.before("text", "address", _address)
    parser.inline.ruler.before("text", "bare", _bare_address)
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.inline.ruler.at("link", _unless_absurd(link))
    parser.inline.ruler.at("image", _unless_absurd(image))
    parser.block.ruler.at("table", _table_unless_absurd, {"alt": ["paragraph", "reference"]})
    return parser.disable(["code", "html_block", "html_inline", "lheading", "reference"])


class _Chat(MarkdownIt):
    """Markdown for reading, not for a browser: an address stays as it was written."""

    def normalizeLink(self, url: str) -> str:  # noqa: N802 - the library's name
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 - the library's name
        return link


def _emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
    """Take two stars for bold also where CommonMark sees a word's middle: `**Preço:**R$ 32`.

    CommonMark wants a space beside such a mark where punctuation stands on its other side, which
    models do not know, and Chinese and Japanese do not have. All else is the library's rule.
    """
    mark = state.src[state.pos]
    if silent or mark not in "*_":
        return False
    found = state.scanDelims(state.pos, mark == "*")
    opens, closes = found.can_open, found.can_close
    if found.length > 1:
        end = state.pos + found.length
        before = state.src[state.pos - 1] if state.pos > 0 else " "
        after = state.src[end] if end < state.posMax else " "
        # __init__ is no word with a bold middle
        opens = opens or (not _is_space(after) and (mark == "*" or isPunctChar(after)))
        closes = closes or (not _is_space(before) and (mark == "*" or isPunctChar(before)))
    for _ in range(found.length):
        token = state.push("text", "", 0)
        token.content = mark
        place = len(state.tokens) - 1
        state.delimiters.append(Delimiter(ord(mark), found.length, place, -1, opens, closes))
    state.pos += found.length
    return True


def _is_space(character: str) -> bool:
    return isWhiteSpace(ord(character)) or character.isspace()


def _address(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
    """Take the rest of a bare address for a text, whatever marks it has in it."""
    if state.src[state.pos] != ":":
        return False
    found = _REST_OF_ADDRESS.match(state.src, state.pos, state.posMax)
    if found is None or _SCHEME.search(state.src[max(0, state.pos - 22) : state.pos]) is None:
        return False
    return _as_text(state, _end_of_address(found[0], ""), len("://"), silent=silent)


def _bare_address(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
    """Take likewise the rest of an address that has no scheme: `instagram.com/__loja__`."""
    if state.src[state.pos] not in _BARE_MARKS:
        return False
    before = state.src[max(0, state.pos - _LONGEST_BARE) : state.pos]
    name = _BARE_NAME.search(before)
    found = _REST_OF_BARE.match(state.src, state.pos, state.posMax)
    if name is None or found is None:
        return False
    return _as_text(state, _end_of_address(found[0], name[0]), 0, silent=silent)


def _end_of_address(rest: str, before: str) -> str:
    """Return the rest of an address without what follows it: what closes a bracket, say."""
    if mark := _MARK_AFTER_ADDRESS.search(rest):
        rest = rest[: mark.start()]
    opened = before.count("(") - before.count(")")
    for place, sign in enumerate(rest):
        opened += (sign == "(") - (sign == ")")
        if opened < 0:
            return rest[:place].rstrip(_AFTER_ADDRESS)
    return rest.rstrip(_AFTER_ADDRESS.replace("_", "") if before else _AFTER_ADDRESS)


def _as_text(state: StateInline, address: str, least: int, *, silent: bool) -> bool:
    if len(address) <= least:
        return False
    if not silent:
        state.append_pending(address)
    state.pos += len(address)
    return True


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
            return _list(inner, ["- "] * _items(inner))
        case "ordered_list_open":
            return _list(inner, _numbers(inner))
        case "table_open":
            return _table(inner)
        case _:  # a rule, and whatever else is only for the eye
            return _inline([opening]) if opening.type == "inline" else ""


def _openings(tokens: Sequence[Token]) -> list[Token]:
    """Return the token that opens each item of a list, not those of the lists inside."""
    return [
        token
        for token in tokens
        if token.type == "list_item_open" and token.level == tokens[0].level
    ]


def _items(tokens: Sequence[Token]) -> int:
    return len(_openings(tokens)) if tokens else 0


def _numbers(tokens: Sequence[Token]) -> list[str]:
    """Return the marks of a numbered list: as written, for somebody may choose by them.

    Where all are the same, as Markdown allows, they are counted.
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
    marked: list[int] = []  # where each mark that is open stands in `out`
    star_is_italic = in_bold or any(token.type == "strong_open" for token in children)
    for place, token in enumerate(children):
        match token.type:
            case "strong_open" | "s_open":
                is_twice = any(out[at] == _MARKS[token.type] for at in marked)
                is_shown = not is_twice and not (in_bold and token.type == "strong_open")
                marked.append(len(out))
                out.append(_MARKS[token.type] if is_shown else "")
            case "strong_close" | "s_close":
                _close_mark(out, marked.pop(), _first_of(children[place + 1 :]))
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


def _first_of(tokens: Sequence[Token]) -> str:
    """Return the first character of what follows; a space where nothing does."""
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            return " "
        if token.content:
            return "`" if token.type == "code_inline" else token.content[0]
        if token.type in _MARKS:
            return _MARKS[token.type]
    return " "


def _close_mark(out: list[str], begin: int, after: str) -> None:
    """Close the mark that was opened at `begin`.

    WhatsApp shows a mark only between a letter and something else. A space is put in where that
    tears no word apart; else there is no mark, for it would be shown as a star.
    """
    mark, inner = out[begin], "".join(out[begin + 1 :])
    if not mark or not inner:
        out[begin] = ""
        return
    before = next((piece[-1] for piece in reversed(out[:begin]) if piece), " ")
    left, right = _gap(before, inner[0]), _gap(after, inner[-1])
    if left is None or right is None:
        out[begin:] = [inner]
    else:
        out[begin:] = [left + mark, inner, mark + right]


def _gap(outer: str, inner: str) -> str | None:
    """Return what must stand beside a mark between the two; None: it would tear a word apart."""
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
