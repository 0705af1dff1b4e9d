"""From a model's text to what WhatsApp accepts, for every handler."""

import asyncio

from router.llm.reasoning import without_reasoning
from router.replies.forgeries import strip_marks
from router.safety.unseen import is_seen
from router.whatsapp.clean import clean
from router.whatsapp.markdown import to_whatsapp
from router.whatsapp.splitting import split_reply

_LONG = 5000  # characters that are processed at once; longer ones beside the event loop
_LONGEST = 1_000_000  # no deployment may say more: the guard refuses it


async def prepared(text: str) -> tuple[str, ...]:
    """Return what `parts_of` returns, without blocking other work."""
    return parts_of(text) if len(text) < _LONG else await asyncio.to_thread(parts_of, text)


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts in which a reply is sent: without reasoning, marks, Markdown.

    No text, or no visible one: no parts.
    """
    if len(text) > _LONGEST:
        return (clean(text),)
    parts = split_reply(to_whatsapp(strip_marks(without_reasoning(clean(text)))))
    return tuple(part for part in parts if is_seen(part))
