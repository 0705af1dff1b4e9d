"""The result of reading a message's content."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from router.whatsapp.clean import JsonObject


@dataclass(frozen=True, slots=True)
class Reading:
    """One message as the state stores it and the LLM sees it.

    `text` is the person's text, or a description of what they sent, in brackets. `about` is the id
    of the message that a reaction or a vote belongs to; `about_ours`: that message is the
    business's, so it may be answered. `pictures` is the announced number of an album's pictures,
    `transcript` are the words of a voice message, if Evolution has transcribed it.
    """

    kind: str
    text: str
    expects_reply: bool = True
    media: JsonObject | None = None
    about: str | None = None
    about_ours: bool = False
    pictures: int | None = None
    transcript: str | None = None


DASH = " \u2013 "
AD_NOTE = re.compile(r"(?:\A|\n)\[came from (?:the|an) ad\b[^\n]*\]\Z")
"""The note that `content.ad_note` adds as the last line of a message; nobody else may write it."""

Reader: TypeAlias = Callable[[Mapping[str, object]], Reading]


def bracketed(what: str, detail: str = "") -> str:
    """Return `[what: detail]`, or `[what]`."""
    return f"[{what}: {detail}]" if detail else f"[{what}]"
