"""Removes a model's reasoning ("thoughts") from its text: customers must not read it.

Some servers leave the model's reasoning in its text, between tags that each family of models spells
in its own way. A closing tag without an opening one ends a thought that began with the text (the
opening tag was in the prompt). An opening tag that is never closed begins a thought that was cut
off. So nothing between two such tags is ever shown, even if they are nested. Of a self-closing tag
only the tag is removed: it contains no thought. A tag with words after its name is ordinary text: a
card may read <Thinking of you>. A tag alone in a piece of code is ordinary text, too: the text is
about the tag.
"""

import re
from collections.abc import Iterator, Sequence

_NAME = (
    r"(?:(?:[a-z_]{1,20}:|[a-z]{1,20}_|ant)?"  # <seed:think>, <longcat_think>, <antThinking>
    r"(?:think|thinking|thoughts?|reasoning)(?:[_-](?:process|steps|content|block|mode|trace))?"
    r"|(?:[a-z_]{1,20}:)?(?:reflection|scratchpad|analysis)"
    r"|(?:inner|internal)[_ -](?:monologue|thoughts?)|chain[_ -]of[_ -]thoughts?|cot)"
)
# Also full-width, as HTML entities, or with Markdown's backslash: WhatsApp shows each as a tag.
_LESS = r"(?:[<\uff1c\u25c1]|&lt;|&#0?60;|\\<)\s{0,3}"
_MORE = r"\s{0,3}(?:[>\uff1e\u25b7]|&gt;|&#0?62;|\\>)"
_SLASH = r"\\?[/\uff0f]"  # JSON may write it with a backslash
_ATTRIBUTES = r"(?:\s[^<>=]{0,100}=[^<>]{0,200}?)?"
_THOUGHT = r"(?:think|thinking|thoughts?|reasoning)"
_OPENING = "|".join((
    rf"{_LESS}{_NAME}{_ATTRIBUTES}{_MORE}",
    r"(?-i:\[(?:THINK|THINKING|REASONING)\])",
    rf"<\|(?:(?:begin|start)_(?:of_)?)?{_THOUGHT}\|>",
    r"<\|channel\|>\s{0,9}(?:analysis|commentary)\b",  # gpt-oss
    r"<\|channel>\s{0,9}thought\b",  # Gemma
))  # fmt: skip
_CLOSING = "|".join((
    rf"{_LESS}{_SLASH}\s{{0,3}}{_NAME}{_MORE}",
    r"(?-i:\[/(?:THINK|THINKING|REASONING)\])",
    rf"<\|(?:/|end_(?:of_)?){_THOUGHT}\|>",
    r"<\|channel\|>\s{0,9}final\b(?:\s{0,9}<\|message\|>)?",
    r"<channel\|>",
    r"(?-i:\[BEGIN FINAL RESPONSE\])",  # Apriel
    r"\Aanalysis(?=[\sA-Z]).{0,60000}?assistantfinal",  # gpt-oss, its control words left out
))  # fmt: skip
_EMPTY = rf"{_LESS}{_NAME}{_ATTRIBUTES}\s{{0,3}}{_SLASH}{_MORE}"
# A tag alone in a piece of code is mentioned: no model begins or ends its thoughts like this.
_SPOKEN_OF = rf"(?<!`)(?P<ticks>`{{1,3}})(?:{_OPENING}|{_CLOSING}|{_EMPTY})(?P=ticks)(?!`)"
_TAG = re.compile(
    rf"(?P<spoken>{_SPOKEN_OF})|(?P<empty>{_EMPTY})|(?P<closing>{_CLOSING})"
    rf"|(?P<opening>{_OPENING})",
    re.IGNORECASE | re.DOTALL,
)
# Marks around the answer itself, which are not part of it.
_AROUND = re.compile(
    r"<\|(?:return|end|im_end|eot_id|eom_id|(?:begin|end)_of_solution|(?:START|END)_RESPONSE)\|>"
    r"|\[END FINAL RESPONSE\]",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\s*<(answer|response|final)>(.*)</\1>\s*", re.IGNORECASE | re.DOTALL)
_DETAILS = re.compile(
    r"<details\s[^<>]{0,200}reasoning[^<>]{0,200}>.*?(?:</details>|\Z)", re.IGNORECASE | re.DOTALL
)
_SIGNS = re.compile(r"[<\uff1c\u25c1\[]|&lt;|&#0?60;|\Aanalysis", re.IGNORECASE)
_BETWEEN = "\x00"  # a cleaned text never contains it


def without_reasoning(text: str) -> str:
    """Return the text without the thoughts; a text without such tags stays unchanged."""
    if _SIGNS.search(text) is None:
        return text
    shown = _said(_DETAILS.sub("", text))
    if shown == text:
        return text
    shown = _AROUND.sub("", shown)
    if wrapped := _WRAPPED.fullmatch(shown):
        shown = wrapped[2]
    return shown.strip()


def begins_in_thought(text: str) -> bool:
    """Whether a text begins with a thought without an opening tag: its first tag closes it."""
    first = next(_tags(text), None)
    return first is not None and first["closing"] is not None


def has_tags(text: str) -> bool:
    """Whether the text contains any tag of a thought."""
    return next(_tags(text), None) is not None


def _tags(text: str) -> Iterator[re.Match[str]]:
    found = _TAG.finditer(text)
    return (tag for tag in found if tag["spoken"] is None and tag["empty"] is None)


def without_reasoning_in(texts: Sequence[str]) -> tuple[str, ...]:
    """Return several consecutive texts without the thoughts.

    A thought may begin in one text and end in another: flows divide a model's text at empty lines.
    """
    plain = [text.replace(_BETWEEN, "") for text in texts]
    spans = _shown(_BETWEEN.join(plain))
    said: list[str] = []
    begin = 0
    for text in plain:
        end = begin + len(text)
        inside = [(max(a, begin) - begin, min(b, end) - begin) for a, b in spans]
        pieces = [text[a:b] for a, b in inside if a < b]
        said.append(without_reasoning(text if pieces == [text] else _joined(pieces)))
        begin = end + len(_BETWEEN)
    return tuple(said)


def _said(text: str) -> str:
    return _joined([text[begin:end] for begin, end in _shown(text)])


def _shown(text: str) -> list[tuple[int, int]]:
    """Return the ranges of a text that are not thoughts."""
    spans: list[tuple[int, int]] = []
    thinks = False
    deeper = before = at = 0
    for tag in _TAG.finditer(text):
        if tag["spoken"] is not None:
            continue
        if not thinks:
            spans.append((at, tag.start()))
        if tag["empty"] is not None:
            pass
        elif tag["opening"] is not None:
            if thinks:
                deeper += 1
            else:
                thinks, before, deeper = True, len(spans), 0
        elif thinks:
            thinks = False
        elif deeper:  # a nested thought ends here; the outer one continues
            deeper -= 1
            del spans[before:]
        else:
            spans.clear()
        at = tag.end()
    if not thinks:
        spans.append((at, len(text)))
    return spans


def _joined(pieces: list[str]) -> str:
    """Join the texts before and after a thought, with the same white space as between them."""
    whole = ""
    for piece in pieces:
        left, right = whole.rstrip(), piece.lstrip()
        gap = whole[len(left) :] + piece[: len(piece) - len(right)]
        between = "\n\n" if "\n" in gap else " " if gap else ""
        whole = left + between + right if left else right
    return whole
