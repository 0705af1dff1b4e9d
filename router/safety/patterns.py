"""A tenant's forbidden patterns: RE2's regular expressions, matched in linear time.

RE2 never goes back over a text, and its memory is bounded: no pattern can hold the process up.
"""

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

import re2

from router.safety.normal import normal
from router.safety.unseen import in_one_line, without_unseen

LONGEST = 500  # characters of one pattern
_MEMORY = 128 * 1024  # bytes for one pattern; some 5000 steps of RE2's machine
_MARKS = re.compile(r"[*_~`]")  # WhatsApp's: *pa*lavra reads like a word


class BadPattern(ValueError):
    """RE2 does not take the pattern; the text says why."""


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises BadPattern."""
    _compiled(pattern)
    return pattern


def first_match(patterns: Sequence[str], text: str) -> str | None:
    """Return the first pattern that the text matches anywhere; case does not count.

    It is looked for in the text as it is, as it reads (without marks and signs that nobody sees,
    with plain letters for full-width ones, and plain spaces), and as that reads in one line; and
    so is the pattern as it reads. Raises BadPattern.
    """
    seen = {without_unseen(text), in_one_line(text)}
    forms = {text, *map(_as_read, seen)}
    for pattern in patterns:
        if any(compiled.search(form) for compiled in _ways(pattern) for form in forms):
            return pattern
    return None


def _as_read(text: str) -> str:
    return _MARKS.sub("", normal(text))


def _ways(pattern: str) -> "list[re2._Regexp]":
    """Return the pattern as it is, and as it reads, where that is another one that means any."""
    ways = [_compiled(pattern)]
    plain = _plainly(pattern)
    if plain and plain != pattern:
        with suppress(BadPattern):
            ways.append(_compiled(plain))
    return ways


def _plainly(pattern: str) -> str:
    """Return the pattern as it reads; what is no ASCII in it stays no syntax."""
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
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(f"{pattern!r} is no regular expression of RE2: {shown}") from None
