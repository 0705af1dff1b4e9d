"""Limits the length of all texts, lists and field names in a webhook, before anything reads them.

A sender of webhooks may put 20 MB into any field, and readers fold, search and join what they
read. So they get a copy in which nothing is longer than WhatsApp ever makes it:

- identifiers (ids, JIDs, words of the protocol) stay whole, or become empty if they are too long: a
  cut identifier would be another one;
- texts of people are cut, with a mark at the end;
- texts in a format (JSON, vCards) stay whole, become empty, or are cut at the end of a line;
- fields that are never read (media in base64, thumbnails, keys) become empty.

The characters of one item are limited together, too. Otherwise thousands of short texts would do
the harm of a long one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from router.whatsapp.lengths import LONGEST_TEXT, MARK

LONGEST_JID = 128
LONGEST_INSTANCE = 1_000
MOST_IN_A_LIST = 300
MOST_OF_AN_ITEM = 4 * LONGEST_TEXT  # characters of one item; short texts may double this
_LONGEST_NAME = 200
_LONGEST_LABEL = 1_024
_LONGEST_WORD = 250  # characters of an id, and of any field that is not named below
_MARK = "…"

_Way: TypeAlias = Literal["whole", "cut", "lines"]


@dataclass(frozen=True, slots=True)
class _Bound:
    most: int
    way: _Way


_WORD = _Bound(_LONGEST_WORD, "whole")
_JID = _Bound(LONGEST_JID, "whole")
_NAME = _Bound(_LONGEST_NAME, "cut")
_LABEL = _Bound(_LONGEST_LABEL, "cut")
_TEXT = _Bound(LONGEST_TEXT, "cut")

_BOUNDS: Mapping[str, _Bound] = {
    "instance": _Bound(LONGEST_INSTANCE, "whole"),
    **dict.fromkeys(
        (
            "remoteJid", "remoteJidAlt", "previousRemoteJid", "senderPn", "senderLid",
            "participant", "sender", "wuid",
        ),
        _JID,
    ),
    **dict.fromkeys(("pushName", "displayName"), _NAME),
    **dict.fromkeys(
        (
            "address", "displayText", "fileName", "filename", "groupName", "name", "optionName",
            "orderTitle", "selectedButtonId", "selectedId", "selectedOptions", "selectedRowId",
            "sourceUrl",
        ),
        _LABEL,
    ),
    **dict.fromkeys(
        (
            "body", "caption", "contentText", "conversation", "description", "header",
            "hydratedContentText", "hydratedTitleText", "message", "selectedDisplayText",
            "speechToText", "text", "title",
        ),
        _TEXT,
    ),
    **dict.fromkeys(("paramsJson", "buttonParamsJson"), _Bound(LONGEST_TEXT, "whole")),
    "vcard": _Bound(LONGEST_TEXT, "lines"),
    "code": _Bound(_LONGEST_LABEL, "whole"),  # the content of a QR code
    "url": _Bound(_LONGEST_LABEL, "whole"),
}  # fmt: skip


def cut_text(text: str) -> str:
    """Return a person's text, cut at WhatsApp's maximum length."""
    return _cut(text, _TEXT)


def cut_label(text: str) -> str:
    """Return a title or the name of a file, cut in the same way."""
    return _cut(text, _LABEL)


def bounded(item: Mapping[str, object]) -> tuple[dict[str, object], int]:
    """Return a copy of a JSON object in which nothing is too long, and how many characters it has.

    The time depends on the number of values, not on their lengths.
    """
    copy: dict[str, object] = {}
    kept = 0
    left: list[tuple[str, object, dict[str, object] | list[object]]] = [("", item, copy)]
    while left:
        field, source, target = left.pop()
        for name, value in _entries(field, source):
            if isinstance(value, str):
                value = _kept(name, value, kept)  # noqa: PLW2901
                kept += len(value)
            elif isinstance(value, dict | list):
                inner: dict[str, object] | list[object] = {} if isinstance(value, dict) else []
                left.append((name, value, inner))
                value = inner  # noqa: PLW2901
            if isinstance(target, dict):
                target[name] = value
            else:
                target.append(value)
    return copy, kept


def _entries(field: str, source: object) -> Iterable[tuple[str, object]]:
    """Return the values inside, each with the name of the field whose limit applies."""
    if isinstance(source, Mapping):
        return (each for each in source.items() if len(each[0]) <= _LONGEST_WORD)
    assert isinstance(source, list)  # noqa: S101 - only objects and lists come here
    return ((field, value) for value in source[:MOST_IN_A_LIST])


def _kept(field: str, text: str, kept: int) -> str:
    bound = _BOUNDS.get(field, _WORD)
    if bound not in (_WORD, _JID):  # these are short, and needed to record anything
        room = MOST_OF_AN_ITEM if len(text) > _LONGEST_NAME else 2 * MOST_OF_AN_ITEM
        if kept >= room:
            return ""
    return text if len(text) <= bound.most else _cut(text, bound)


def _cut(text: str, bound: _Bound) -> str:
    if len(text) <= bound.most:
        return text
    match bound.way:
        case "cut":
            mark = MARK if bound is _TEXT else _MARK
            return text[: bound.most - len(mark)] + mark
        case "lines":  # a cut number would be another number
            return text[: bound.most].rpartition("\n")[0]
        case "whole":
            return ""
