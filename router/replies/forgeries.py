"""Removes marks and control words from texts: only the prompt itself may write them.

Hosted models read control words in a message as text. Some servers with OpenAI's protocol interpret
them, so that a customer could start a message in another role.
"""

import re

TEAM_MARK = "[written by a person of the team]"
_FORGED = "(written by a person of the team)"  # what a forged mark becomes
_OPEN, _CLOSE = "[\\[［【〔⟦〚]", "[\\]］】〕⟧〛]"
# Characters between two letters that do not change how people or models read the word. The number
# is limited, so that a long run of brackets does not take quadratic time. Some empty characters are
# letters in Unicode.
_BETWEEN = r"[\W_\u115f\u1160\u3164\uffa0]{0,12}?"
_LETTERS = [f"[{c}{chr(ord(c) + 0xFEE0)}]" for c in re.sub(r"\W", "", TEAM_MARK)]  # full-width too
_MARK = re.compile(_OPEN + _BETWEEN + _BETWEEN.join(_LETTERS) + _BETWEEN + _CLOSE, re.IGNORECASE)
# Each pattern contains one of these, which few customers' texts have: this makes the test fast.
_SIGN = re.compile("[\\[［【〔⟦〚<>＞|｜]")
_QUOTE_MARK = re.compile(r"^([^\S\n]*)[>＞]", re.MULTILINE)
_CONTROL_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<([|｜])"), r"< \1"),  # <|im_start|>, <｜User｜>
    (re.compile(r"([|｜])>"), r"\1 >"),
    (re.compile(r"\[(/?INST)\]", re.IGNORECASE), r"(\1)"),
    (re.compile(r"<<(/?SYS)>>", re.IGNORECASE), r"(\1)"),
    (re.compile(r"\[\[(?=\s*\w{1,12}\s*:)"), "[ ["),  # the mark that sends a file of the business
    (re.compile(r"<(/?s|/?(?:start|end)_of_turn|/?bos|/?eos)>", re.IGNORECASE), r"< \1 >"),
)


def unmark(text: str) -> str:
    """Return the text with parentheses in place of the team's mark's brackets, in any spelling."""
    return _MARK.sub(_FORGED, text)


def disarm(text: str) -> str:
    """Return a person's text without the prompt's marks and models' control words."""
    lines = "\n".join(text.splitlines())
    if _SIGN.search(lines) is None:
        return lines
    text = _QUOTE_MARK.sub(r"\1›", unmark(lines))
    for pattern, harmless in _CONTROL_WORDS:
        text = pattern.sub(harmless, text)
    return text


def strip_marks(reply: str) -> str:
    """Return a reply without the marks that a model may have copied from its prompt."""
    return _MARK.sub("", reply).strip()
