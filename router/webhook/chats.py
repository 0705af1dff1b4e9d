"""Which chats are conversations: a person's and a group's; the rest of WhatsApp is left alone."""

from collections.abc import Mapping

from router.webhook.envelope import Envelope, Ignored, NotAnEnvelope
from router.webhook.jids import JidKind, chat_of, kind_of

_UNUSED = {
    JidKind.STATUS: "status post",
    JidKind.NEWSLETTER: "newsletter",
    JidKind.BROADCAST: "broadcast list",
    JidKind.OTHER: "kind of chat not used",
}


def used_chat(envelope: Envelope, key: Mapping[str, object]) -> str | Ignored:
    """Return the normalised JID of the key's chat, or why it is not used.

    Raises NotAnEnvelope if the key names no chat.
    """
    chat = chat_of(key)
    if chat is None:
        raise NotAnEnvelope("the event names no chat: its key has no remoteJid")
    reason = _UNUSED.get(kind_of(chat))
    if reason is not None:
        return Ignored(reason)
    if chat == envelope.owner:
        return Ignored("note to self")
    return chat


def says_true(value: object) -> bool:
    """Whether a flag such as `fromMe` is set."""
    return value is True or value == "true"
