"""Converts a model's text into parts that WhatsApp accepts, for every handler."""

import asyncio

from router.llm.reasoning import without_reasoning
from router.replies.forgeries import strip_marks
from router.safety.unseen import is_seen
from router.whatsapp.clean import clean
from router.whatsapp.markdown import to_whatsapp
from router.whatsapp.splitting import split_reply

_LONG = 5000  # characters; a longer text is processed in a thread
_LONGEST = 1_000_000  # characters; the guard refuses longer replies in every deployment


async def prepared(text: str) -> tuple[str, ...]:
    """Return the result of `parts_of`, without blocking other work."""
    return parts_of(text) if len(text) < _LONG else await asyncio.to_thread(parts_of, text)


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts in which a reply is sent, without reasoning, marks and Markdown.

    A text without visible characters has no parts.
    """
    if len(text) > _LONGEST:
        return (clean(text),)
    parts = split_reply(to_whatsapp(strip_marks(without_reasoning(clean(text)))))
    return tuple(part for part in parts if is_seen(part))
