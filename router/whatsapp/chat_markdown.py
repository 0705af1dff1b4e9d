"""Markdown as it is read in a chat: CommonMark, but for what LLMs write otherwise.

Addresses are texts whatever marks they have, two stars are bold also where CommonMark sees a word's
middle, and what would take absurdly long is left as it is.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from markdown_it import MarkdownIt
from markdown_it.common.utils import isPunctChar, isWhiteSpace
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline, image, link
from markdown_it.rules_inline.state_inline import Delimiter

Rule: TypeAlias = Callable[[StateInline, bool], bool]

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
_MOST_BRACKETS = 100  # of one paragraph
_MOST_WORK = 500_000  # brackets times characters of one paragraph
_MOST_CELLS = 5_000  # lines times the columns of the widest line
_DEEPEST = 100  # nested blocks; what is deeper is left out, and nobody writes so


@cache
def chat_parser() -> MarkdownIt:
    """Return the parser; it is made once."""
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
