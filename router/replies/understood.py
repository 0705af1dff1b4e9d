"""How the AI reads media that were put into words: the customer's words, in brackets and quotes.

What stands in a picture or a document, or is said in a voice message, is the customer's, as what
they type; so are captions and the names of files. It cannot close its brackets or its quotes, so
nothing in it reads as anything else, such as what we say of a picture.
"""

import re

from router.state.calls.claimed_turn import TurnMessage

_WITHOUT_SIGNS = str.maketrans(
    dict.fromkeys("[\uff3b\u3010\u3014\u301a\u27e6", "(")
    | dict.fromkeys("]\uff3d\u3011\u3015\u301b\u27e7", ")")
    | dict.fromkeys('"\u201c\u201d\u201e\u201f\uff02', "'")
)  # and what looks like them
_SOUND = ("ptt", "audio")
_SEEN = ("image", "video", "sticker", "document")
_OURS = re.compile(r"\[(?:image|video|GIF|document|sticker)\b[^][]*\](?:\n\[came from [^][]*\])?")
"""What the readers of `router.whatsapp.media` make, with the note of an ad."""


def said_of(message: TurnMessage) -> str:
    """Return a message's text, with what its media says in words; or that it could not be had."""
    told = message.body
    if message.kind in _SOUND and told.startswith("[") and "]" in told:
        return _heard(told, message)
    if message.kind not in _SEEN:
        return told
    for words in ((message.media or {}).get("file_name"), (message.media or {}).get("caption")):
        told = _closing_nothing(told, words or "")
    if not _OURS.fullmatch(told):  # a caption that was edited comes as it stands
        told = f'[{message.kind}: "{_quoted(told)}"]'
    if message.transcript:
        told = f'{told}\n[said in it: "{_quoted(message.transcript)}"]'
    if message.description:
        told = f'{told}\n[in it: "{_quoted(message.description)}"]'
    return f"{told}\n[it could not be looked at]" if message.unheard else told


def _heard(told: str, message: TurnMessage) -> str:
    if message.unheard:
        return _inside(told, ", that could not be heard")
    if message.transcript == "":
        return _inside(told, ", in which nothing is said")
    if message.transcript and f'"{message.transcript}"' not in told:
        return _inside(told, f': "{_quoted(message.transcript)}"')
    return _closing_nothing(told, message.transcript or "")


def _closing_nothing(told: str, words: str) -> str:
    """Return what begins with our bracket, with the customer's words in it as they are read."""
    start = told.find(words, 1)
    if start < 0:
        return told
    return told[:start] + words.translate(_WITHOUT_SIGNS) + told[start + len(words) :]


def _inside(told: str, more: str) -> str:
    """Put more into the brackets of sound, in which nothing of the customer's stands yet."""
    before, bracket, rest = told.partition("]")
    return f"{before}{more}{bracket}{rest}"


def _quoted(words: str) -> str:
    return " ".join(words.translate(_WITHOUT_SIGNS).split())
