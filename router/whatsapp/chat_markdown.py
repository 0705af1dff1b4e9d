"""Parses Markdown as LLMs write it in a chat: CommonMark with some differences.

URLs are always plain text, whatever marks they contain; two stars are bold even where CommonMark
sees the middle of a word; and text that would take absurdly long to parse stays unchanged.
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
# In Chinese and Japanese, text follows a URL without a space; their punctuation ends the URL.
_OF_ADDRESS = r"[^\s<>\[\]\\`\"\u3000-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]"
_REST_OF_ADDRESS = re.compile(rf"://{_OF_ADDRESS}{{1,4000}}")
_MARK_AFTER_ADDRESS = re.compile(r"[.,;:!?)'](?:\*\*|__)(?=\S)")
_AFTER_ADDRESS = "*_~.,;:!?)'"  # at the end of a URL, these belong to the text around it
# A URL without a scheme: a host name, and the path up to the first mark.
_BARE_NAME = re.compile(
    r"(?<![\w.@/-])(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?::[0-9]{1,5})?/[^\s<>\[\]`\"*]*\Z"
)
_BARE_MARKS = "_~&"  # not a star, which is more likely Markdown
_REST_OF_BARE = re.compile(rf"{_OF_ADDRESS}{{1,4000}}")
_LONGEST_BARE = 300  # characters of a path before its first mark
_MOST_BRACKETS = 100  # in one paragraph
_MOST_WORK = 500_000  # brackets times characters in one paragraph
_MOST_CELLS = 5_000  # lines times the columns of the widest line
_DEEPEST = 100  # nested blocks; deeper ones are left out, and no real text has them


@cache
def chat_parser() -> MarkdownIt:
    """Return the parser; it is made once."""
    # In a chat, indented text is not code, and HTML is plain text.
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
    """Markdown for reading, not for a browser: a URL stays as it was written."""

    def normalizeLink(self, url: str) -> str:  # noqa: N802 - the library's name
        return url

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 - the library's name
        return link


def _emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
    """Treat two stars as bold even where CommonMark sees the middle of a word: `**Preço:**R$ 32`.

    If there is punctuation on one side of the stars, CommonMark requires a space on the other side.
    Models do not follow this, and Chinese and Japanese have no spaces. The rest is the library's
    rule.
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
        # `__init__` does not contain bold text
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
    """Treat the rest of a bare URL as text, whatever marks it contains."""
    if state.src[state.pos] != ":":
        return False
    found = _REST_OF_ADDRESS.match(state.src, state.pos, state.posMax)
    if found is None or _SCHEME.search(state.src[max(0, state.pos - 22) : state.pos]) is None:
        return False
    return _as_text(state, _end_of_address(found[0], ""), len("://"), silent=silent)


def _bare_address(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the library's form
    """Treat the rest of a URL without a scheme as text, too: `instagram.com/__loja__`."""
    if state.src[state.pos] not in _BARE_MARKS:
        return False
    before = state.src[max(0, state.pos - _LONGEST_BARE) : state.pos]
    name = _BARE_NAME.search(before)
    found = _REST_OF_BARE.match(state.src, state.pos, state.posMax)
    if name is None or found is None:
        return False
    return _as_text(state, _end_of_address(found[0], name[0]), 0, silent=silent)


def _end_of_address(rest: str, before: str) -> str:
    """Return the rest of a URL without the characters after it, such as a closing bracket."""
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
    """Return the rule for links, which accepts no links if there are absurdly many brackets.

    For each bracket, the rest of the paragraph is searched for the closing one.
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
    """Parse tables, unless the text would have absurdly many cells.

    Each line below a table's head is a row with all columns, even if they are not written.
    """
    if "wide" not in state.env:
        lines = state.src.split("\n")
        state.env["wide"] = max(line.count("|") for line in lines) * len(lines) > _MOST_CELLS
    return not state.env["wide"] and table(state, start, end, silent)
