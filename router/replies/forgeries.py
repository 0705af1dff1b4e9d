"""Removes from a text what only the prompt itself may write: its marks, and control words.

Hosted models read control words in a message as text. Some servers with OpenAI's protocol interpret
them, and a customer could begin a message of another role with them.
"""

import re

TEAM_MARK = "[written by a person of the team]"
_FORGED = "(written by a person of the team)"  # what a forged mark becomes
_OPEN, _CLOSE = "[\\[［【〔⟦〚]", "[\\]］】〕⟧〛]"
# What may stand between two letters without changing what a reader, or a model, reads. Bounded:
# a long run of brackets must not cost the square of its length. Some empty signs count as letters.
_BETWEEN = r"[\W_\u115f\u1160\u3164\uffa0]{0,12}?"
_LETTERS = [f"[{c}{chr(ord(c) + 0xFEE0)}]" for c in re.sub(r"\W", "", TEAM_MARK)]  # full-width too
_MARK = re.compile(_OPEN + _BETWEEN + _BETWEEN.join(_LETTERS) + _BETWEEN + _CLOSE, re.IGNORECASE)
# Each of the patterns contains one of these, which few texts of customers have.
_SIGN = re.compile("[\\[［【〔⟦〚<>＞|｜]")
_QUOTE_MARK = re.compile(r"^([^\S\n]*)[>＞]", re.MULTILINE)
_CONTROL_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<([|｜])"), r"< \1"),  # <|im_start|>, <｜User｜>
    (re.compile(r"([|｜])>"), r"\1 >"),
    (re.compile(r"\[(/?INST)\]", re.IGNORECASE), r"(\1)"),
    (re.compile(r"<<(/?SYS)>>", re.IGNORECASE), r"(\1)"),
    (re.compile(r"\[\[(?=\s*\w{1,12}\s*:)"), "[ ["),  # what has a file of the business sent
    (re.compile(r"<(/?s|/?(?:start|end)_of_turn|/?bos|/?eos)>", re.IGNORECASE), r"< \1 >"),
)


def unmark(text: str) -> str:
    """Return the text with parentheses for the brackets of the team's mark, however written."""
    return _MARK.sub(_FORGED, text)


def disarm(text: str) -> str:
    """Return what somebody wrote, without marks of the prompt and control words of models."""
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
