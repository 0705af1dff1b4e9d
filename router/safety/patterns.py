"""A tenant's forbidden patterns: RE2's regular expressions, matched in linear time.

RE2 never goes back over a text, and its memory is bounded: no pattern can hold the process up.
"""

import re
import unicodedata
from collections.abc import Sequence

import re2

from router.safety.normal import normal

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

    It is looked for in the text as it is, and as it reads: without marks and invisible signs, and
    with plain letters for full-width ones. Raises BadPattern.
    """
    forms = {text, _as_read(text)}
    for pattern in patterns:
        compiled = _compiled(pattern)
        if any(compiled.search(form) for form in forms):
            return pattern
    return None


def _as_read(text: str) -> str:
    plain = normal(text)
    visible = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return _MARKS.sub("", visible)


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
