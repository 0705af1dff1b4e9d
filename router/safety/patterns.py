"""A tenant's forbidden patterns: RE2's regular expressions, matched in bounded time.

RE2 never backtracks, and its memory is bounded. But if a pattern's state machine does not fit into
that memory, each character may cost as many steps as the machine has: `(a?){900}c` has 3,600. So
there are limits for the steps of all patterns of a tenant together, for the search with one
pattern, and for the time of all searches in a reply.
"""

import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress

import re2

from router.safety.normal import normal
from router.safety.unseen import in_one_line, without_unseen

LONGEST = 500  # characters of one pattern
_MEMORY = 128 * 1024  # bytes for one pattern; some 5000 steps of RE2's machine
_STEPS = 20_000  # of the machines of all patterns of a tenant; \\pL alone has 1,200
_SEARCH = 100_000_000  # steps times bytes of one search: 1.5 seconds at worst
_LONGEST_LOOK = 1.0  # seconds of CPU time, for all patterns of a reply
_MARKS = re.compile(r"[*_~`]")  # WhatsApp's formatting: *pa*lavra reads like a word


class BadPattern(ValueError):
    """RE2 does not accept the pattern; the text says why."""


def check_patterns(patterns: list[str]) -> list[str]:
    """Return a tenant's patterns. Raises BadPattern."""
    steps = 0
    for pattern in patterns:  # stops at the limit, because compiling a pattern takes long, too
        steps += sum(way.programsize for way in _ways(pattern))
        if steps > _STEPS:
            raise BadPattern(
                f"the patterns take more than {_STEPS} steps together, up to {pattern!r}: repeat"
                r" fewer times ({n}), and use fewer classes such as \pL"
            )
    return patterns


def first_match(
    patterns: Sequence[str], text: str, clock: Callable[[], float] = time.thread_time
) -> str | None:
    """Return the first pattern that the text matches anywhere; case is ignored.

    The text is searched as it is, as a reader sees it (without invisible characters and formatting,
    with plain letters for full-width ones, and plain spaces), and that in one line. The pattern is
    used in the same two forms. Raises BadPattern, also if the search takes too long.
    """
    if not patterns:  # most tenants have none
        return None
    ends = clock() + _LONGEST_LOOK
    seen = {without_unseen(text), in_one_line(text)}
    forms = {text, *map(_as_read, seen)}
    for pattern in patterns:
        for compiled in _ways(pattern):
            for form in forms:
                if (
                    compiled.programsize * len(form.encode(errors="replace")) > _SEARCH
                    or clock() > ends
                ):
                    raise BadPattern(
                        f"{pattern!r} takes too long to be looked for in {len(form)} characters:"
                        " make the forbidden patterns simpler"
                    )
                if compiled.search(form):
                    return pattern
    return None


def _as_read(text: str) -> str:
    return _MARKS.sub("", normal(text))


def _ways(pattern: str) -> "list[re2._Regexp]":
    """Return the pattern as it is, and as a reader sees it, if that is another valid pattern."""
    ways = [_compiled(pattern)]
    plain = _plainly(pattern)
    if plain and plain != pattern:
        with suppress(BadPattern):
            ways.append(_compiled(plain))
    return ways


def _plainly(pattern: str) -> str:
    """Return the pattern as a reader sees it; non-ASCII characters never become syntax."""
    plain = without_unseen(pattern)
    if plain.isascii():
        return plain
    return "".join(
        sign if sign.isascii() else re.escape(unicodedata.normalize("NFKC", sign))
        for sign in unicodedata.normalize("NFC", plain)
    )


def _compiled(pattern: str) -> "re2._Regexp":
    if not pattern or len(pattern) > LONGEST:
        raise BadPattern(f"a pattern must have from 1 to {LONGEST} characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY
    options.never_capture = (
        True  # the positions of groups are not needed, and cost eight times as much
    )
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(
            f"{pattern!r} is not a regular expression that RE2 knows: {shown}"
        ) from None
