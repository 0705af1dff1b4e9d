"""The result of reading a message's content."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from router.whatsapp.clean import JsonObject


@dataclass(frozen=True, slots=True)
class Reading:
    """One message as the state keeps it and the LLM sees it.

    `text` is what the person wrote, or what they sent, told in brackets. `about` is the id of the
    message that a reaction or a vote belongs to; `about_ours`: that message is the business's, and
    there is something to answer. `pictures` is how many an album is to have, `transcript` what is
    said in a voice message, where Evolution has heard it.
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
"""What `content.ad_note` puts behind a message, on its last line; nobody else may."""

Reader: TypeAlias = Callable[[Mapping[str, object]], Reading]


def bracketed(what: str, detail: str = "") -> str:
    """Return `[what: detail]`, or `[what]`."""
    return f"[{what}: {detail}]" if detail else f"[{what}]"
