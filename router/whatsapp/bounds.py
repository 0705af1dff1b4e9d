"""How much of a webhook's fields is kept: every text, list and name of a field, once, at the edge.

A sender of webhooks may put 20 MB into any field, and readers fold, search and join what they
read. So they are given a copy in which nothing is longer than WhatsApp ever makes it:

- what identifies (ids, JIDs, words of the protocol) is whole or, if it is too long, empty: cut, it
  would be another's;
- what people wrote is cut, with a mark at its end;
- what is read as a text in another language (JSON, vCards) is whole, empty, or ends with a line;
- what nobody reads (media in base64, thumbnails, keys) is empty.

The characters of one item have a bound together as well, or thousands of short texts would do what
one long one cannot.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from router.whatsapp.lengths import LONGEST_TEXT, MARK

LONGEST_JID = 128
LONGEST_INSTANCE = 1_000
MOST_IN_A_LIST = 300
MOST_OF_AN_ITEM = 4 * LONGEST_TEXT  # characters of one item; short ones may make it twice as many
_LONGEST_NAME = 200
_LONGEST_LABEL = 1_024
_LONGEST_WORD = 250  # of an id, or of any field that is not named below
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
    "code": _Bound(_LONGEST_LABEL, "whole"),  # what a QR code says
}  # fmt: skip


def cut_text(text: str) -> str:
    """Return what somebody wrote, cut where it is longer than WhatsApp lets anybody write."""
    return _cut(text, _TEXT)


def cut_label(text: str) -> str:
    """Return a title or the name of a file, cut in the same way."""
    return _cut(text, _LABEL)


def bounded(item: Mapping[str, object]) -> tuple[dict[str, object], int]:
    """Return a copy of a JSON object in which nothing is too long, and how many characters it has.

    Takes time in proportion to the number of values, not to their length.
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
    """Return what is inside, each with the name of the field that says what it is."""
    if isinstance(source, Mapping):
        return (each for each in source.items() if len(each[0]) <= _LONGEST_WORD)
    assert isinstance(source, list)  # noqa: S101 - nothing else is looked into
    return ((field, value) for value in source[:MOST_IN_A_LIST])


def _kept(field: str, text: str, kept: int) -> str:
    bound = _BOUNDS.get(field, _WORD)
    if bound not in (_WORD, _JID):  # without these nothing could be recorded, and they are short
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
        case "lines":  # half a number would be another's
            return text[: bound.most].rpartition("\n")[0]
        case "whole":
            return ""
