"""Decides which chats are conversations: those with a person or a group. All others are ignored."""

from collections.abc import Mapping

from router.intake.readers.envelope import Envelope, Ignored
from router.whatsapp.jids import JidKind, chat_of, identities, kind_of, normalise_jid

_UNUSED = {
    JidKind.STATUS: Ignored("status post"),
    JidKind.NEWSLETTER: Ignored("newsletter"),
    JidKind.BROADCAST: Ignored("broadcast list"),
    JidKind.OTHER: Ignored("kind of chat not used"),
}


def is_from_me(key: Mapping[str, object]) -> bool:
    """Whether the key says that the business's side sent the message."""
    value = key.get("fromMe")
    return value is True or value == "true"


def is_with_oneself(envelope: Envelope, key: Mapping[str, object]) -> bool:
    """Whether the key's chat is the one of the business with its own number."""
    return envelope.owner is not None and chat_of(key) == envelope.owner


def is_of_own_lid(envelope: Envelope, key: Mapping[str, object]) -> bool:
    """Whether the key's chat is a LID that is reported as the business's own.

    That alone proves nothing: some versions put the owner's number in place of the contact's.
    """
    other = key.get("remoteJidAlt")
    chat = chat_of(key)
    return (
        chat is not None
        and kind_of(chat) is JidKind.LID
        and isinstance(other, str)
        and envelope.owner is not None
        and normalise_jid(other) == envelope.owner
    )


def conversation_of(
    envelope: Envelope, key: Mapping[str, object], *, from_me: bool
) -> tuple[str, ...] | Ignored:
    """Return the JIDs of the key's chat, its own JID first, or why the chat is not used.

    There are no JIDs if the key names no chat, or only the business itself.
    """
    chat = chat_of(key)
    if chat is None or is_with_oneself(envelope, key):
        return ()
    unused = _UNUSED.get(kind_of(chat))
    if unused is not None:
        return unused
    return identities(key, chat, from_me=from_me, owner=envelope.owner)
