"""Removes invisible characters, and normalises all that looks like a space.

The characters are those of Unicode 14 (DerivedCoreProperties.txt: Default_Ignorable_Code_Point,
including unassigned ones; UnicodeData.txt: Cc and Cf). `hybridflow.check_name` knows the same
characters. Letters that look like others, as a Cyrillic a looks like a Latin one, are not among
them.
"""

import re

_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_CONTROLS = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # except those that separate lines or words
_FORMATS = (  # format characters that are not in the default list of ignorable ones
    "\u0600-\u0605\u06dd\u070f\u0890-\u0891\u08e2\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f"
)
# Empty characters with the width of a letter: some programs show a space, others nothing.
_BLANK = "\u115f\u1160\u2800\u3164\uffa0\ufffc\U00016fe4\U0001d159"
_BREAKS = "\x0b\x0c\r\x1c-\x1f\x85\u2028\u2029"  # some programs show a line break, others nothing

_UNSEEN = re.compile(f"[{_IGNORABLE}{_CONTROLS}{_FORMATS}]")
_EMPTY = re.compile(f"[{_BLANK}{_BREAKS}]")
_OTHER_SPACE = re.compile(r"[^\S\n ]")
_SPACES = re.compile(r"\s+")


def without_unseen(text: str) -> str:
    """Return the text without invisible characters, with plain spaces; lines stay lines."""
    return _OTHER_SPACE.sub(" ", _UNSEEN.sub("", _EMPTY.sub("", text)))


def is_seen(text: str) -> bool:
    """Whether anything in the text is visible."""
    return bool(without_unseen(text).strip())


def in_one_line(text: str) -> str:
    """Return the same in one line, with one plain space for all that may look like spaces."""
    return _SPACES.sub(" ", _UNSEEN.sub("", _EMPTY.sub(" ", text)))
