"""From what a model wrote to what WhatsApp takes, for every handler."""

from router.turns.forgeries import strip_marks
from router.turns.markdown import to_whatsapp
from router.turns.reply import split_reply
from router.webhook.clean import clean


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts in which a reply is sent: no marks of the prompt, no Markdown.

    No text: no parts.
    """
    return split_reply(to_whatsapp(strip_marks(clean(text))))
