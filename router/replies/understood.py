"""How the AI reads a customer's message: brackets are ours, quotes contain the customer's words.

Typed text, a caption, a file's name, a place, words in media: all of these are the customer's, and
their brackets are replaced. So they cannot look like our own notes, such as a description of a
picture. What is our description is decided by how the readers of `router.whatsapp` make it, not by
its look, because a customer can write the same.
"""

import re
from collections.abc import Iterator

from router.state.calls.claimed_turn import TurnMessage
from router.whatsapp.lengths import MARK
from router.whatsapp.reading import AD_NOTE

_DELETED = "[deleted message]"  # the history's text for a deleted message
_BRACKETS = {
    **dict.fromkeys("[\uff3b\u3010\u3014\u301a\u27e6", "("),
    **dict.fromkeys("]\uff3d\u3011\u3015\u301b\u27e7", ")"),
}  # and characters that look like them
_WITHOUT_BRACKETS = str.maketrans(_BRACKETS)
_WITHOUT_SIGNS = str.maketrans(_BRACKETS | dict.fromkeys('"\u201c\u201d\u201e\u201f\uff02', "'"))
_SOUND = ("ptt", "audio")
_SEEN = ("image", "video", "sticker", "document")
_TYPED = ("text", "button_reply", "list_reply", "interactive_reply")
_CHOSEN = ("[chose: ", "[form filled in: ")  # choices without a visible text
_LASTING = r"(?:, \d+ seconds?)?(?:, too large)?"
_BEGUN = re.compile(
    rf"\[(?:(?:image|sticker|document|GIF|video note|video|voice message|audio){_LASTING})"
)
_NOTHING_OF_THEIRS = re.compile(rf'{_BEGUN.pattern}(?: "[^]["]*")?(?:: "[^]["]*")?\]')


def said_of(message: TurnMessage) -> str:
    """Return a message's text, with its media in words, or a note that there are no words."""
    if message.kind in _SOUND or message.kind in _SEEN:
        return _DELETED if message.body == _DELETED else "\n".join(_sent(message))
    if message.from_me or message.body == _DELETED:
        return message.body
    told, ad = _without_ad(message.body)
    is_typed = message.kind in _TYPED and not told.startswith(_CHOSEN)
    return (unbracketed(told) if is_typed else _around(told)) + ad


def bare(words: str) -> str:
    """Return a customer's words without brackets and quotes that could end the enclosing ones."""
    return words.translate(_WITHOUT_SIGNS)


def unbracketed(words: str) -> str:
    """Return a customer's words with parentheses in place of brackets."""
    return words.translate(_WITHOUT_BRACKETS)


def _sent(message: TurnMessage) -> Iterator[str]:
    if message.kind in _SOUND:
        yield _heard(message)
        return
    yield _seen(message)
    if message.transcript:
        yield f'[said in it: "{_quoted(message.transcript)}"]'
    if message.description:
        yield f'[in it: "{_quoted(message.description)}"]'
    if message.unheard:
        yield "[it could not be looked at]"


def _without_ad(body: str) -> tuple[str, str]:
    """Return a message's text, and separately its last line if that is our note about an ad."""
    note = AD_NOTE.search(body)
    if note is None:
        return body, ""
    told = note[0].removeprefix("\n")
    return body[: note.start()], note[0][: -len(told)] + _around(told)


def _around(told: str) -> str:
    """Return our bracketed text, with inner brackets replaced."""
    if told.startswith("[") and told.endswith("]"):
        return f"[{unbracketed(told[1:-1])}]"
    return unbracketed(told)


def _heard(message: TurnMessage) -> str:
    told, ad = _without_ad(message.body)
    begun = _BEGUN.match(told)
    what = begun[0] if begun else f"[{'voice message' if message.kind == 'ptt' else 'audio'}"
    words = message.transcript or told[len(begun[0]) if begun else 0 :].strip(': "]')
    if message.unheard:
        what += ", that could not be heard"
    elif message.transcript == "":
        what += ", in which nothing is said"
    elif words:
        what += f': "{_quoted(words)}"'
    return f"{what}]{ad}"


def _seen(message: TurnMessage) -> str:
    """Return our bracketed text with the customer's file name and caption in quotes."""
    body = message.body
    begun = _BEGUN.match(body)
    if begun is None:  # an edited caption comes without our brackets
        return f'[{message.kind}: "{bare(body)}"]'
    media = message.media or {}
    name, caption = media.get("file_name") or "", media.get("caption") or ""
    if message.kind == "document":
        caption = "" if caption == name else caption
        made = (f' "{name}"' if name else "") + (f": {caption}" if caption else "")
    else:
        name = ""
        made = f': "{caption}"' if caption else ""
    whole = f"{begun[0]}{made}]"
    rest, ad = _without_ad(body.removeprefix(whole))
    if (body.startswith(whole) and not rest) or _was_cut_from(whole, body):
        named = f' "{bare(name)}"' if name else ""
        said = f': "{bare(caption)}"' if caption else ""
        return f"{begun[0]}{named}{said}]{ad}"
    told, ad = _without_ad(body)
    return told + ad if _NOTHING_OF_THEIRS.fullmatch(told) else f'[{message.kind}: "{bare(body)}"]'


def _was_cut_from(whole: str, body: str) -> bool:
    """Whether the body is the reader's text, which was cut because it was too long."""
    return body.endswith(MARK) and whole.startswith(body.removesuffix(MARK))


def _quoted(words: str) -> str:
    return " ".join(bare(words).split())
