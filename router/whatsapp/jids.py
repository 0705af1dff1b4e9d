"""JIDs: WhatsApp's ids of people and groups, in the one form that the state uses.

A person may be known by a phone JID (`5511…@s.whatsapp.net`), by a LID (`2019…@lid`, which hides
the number) or by both; a group is `…@g.us`. The field of a message's key with the other identity
depends on the version: `remoteJidAlt` (Evolution 2.3.5 and newer), before that `senderPn`,
`senderLid` and `previousRemoteJid`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

from router.whatsapp.bounds import LONGEST_JID
from router.whatsapp.clean import clean

_PHONE_SERVER, _LID_SERVER, _GROUP_SERVER = "s.whatsapp.net", "lid", "g.us"
_PHONE_END = "@" + _PHONE_SERVER
_OTHER_SPELLINGS = {"c.us": _PHONE_SERVER, "hosted": _PHONE_SERVER, "hosted.lid": _LID_SERVER}
_NOT_DIALLED = re.compile(r"[\s()+./-]")
_PERSON = re.compile(r"[1-9][0-9]{4,19}")
_GROUP = re.compile(r"[0-9]{5,30}(-[0-9]{5,20})?")

# Fields about the chat are valid for every author. Fields about the sender name the contact only if
# the contact wrote. (In our own messages, Baileys 6.7 often, but not always, fills senderPn with
# the contact.)
_OF_CHAT = ("remoteJidAlt", "previousRemoteJid")
_OF_SENDER = ("senderPn", "senderLid")


class JidKind(StrEnum):
    """What a JID addresses."""

    PHONE = "phone"
    LID = "lid"
    GROUP = "group"
    STATUS = "status"
    BROADCAST = "broadcast"
    NEWSLETTER = "newsletter"
    OTHER = "other"


_KINDS = {"broadcast": JidKind.BROADCAST, "newsletter": JidKind.NEWSLETTER}


def normalise_jid(jid: str) -> str:
    """Return the JID without device or agent, `@c.us` as `@s.whatsapp.net`, a bare number as a JID.

    Never raises. A text that is not a JID is returned cleaned. One that is far too long becomes
    empty: a cut one could be somebody's JID.
    """
    if len(jid) > LONGEST_JID:
        return ""
    if jid.endswith(_PHONE_END) and jid.isascii() and jid[: -len(_PHONE_END)].isdigit():
        return jid
    user, at, server = clean(jid).strip().partition("@")
    if not at:
        number = _NOT_DIALLED.sub("", user)
        return number + _PHONE_END if number.isascii() and number.isdigit() else user
    server = server.lower()
    server = _OTHER_SPELLINGS.get(server, server)
    if server in (_PHONE_SERVER, _LID_SERVER):
        user = user.partition(":")[0].partition("_")[0]
    return f"{user}@{server}"


def kind_of(jid: str) -> JidKind:
    """Return what a normalised JID addresses. WhatsApp's own account (0@…) and bots are OTHER."""
    user, _, server = jid.partition("@")
    if server == _PHONE_SERVER:
        return JidKind.PHONE if _PERSON.fullmatch(user) else JidKind.OTHER
    if server == _LID_SERVER:
        return JidKind.LID if _PERSON.fullmatch(user) else JidKind.OTHER
    if server == _GROUP_SERVER:
        return JidKind.GROUP if _GROUP.fullmatch(user) else JidKind.OTHER
    if jid == "status@broadcast":
        return JidKind.STATUS
    return _KINDS.get(server, JidKind.OTHER)


def is_group(jid: str) -> bool:
    """Whether the JID is a group's."""
    return kind_of(jid) is JidKind.GROUP


def number_of(jid: str) -> str:
    """Return the `number` for sendText: the whole JID.

    Evolution rewrites a bare number (Brazil's ninth digit, the prefixes of Mexico and Argentina)
    but not a JID, and the JID comes from WhatsApp itself. The Cloud channel uses its digits.
    """
    return normalise_jid(jid)


def chat_of(key: Mapping[str, object]) -> str | None:
    """Return the normalised JID of the chat in a message's key (`remoteJid`), or None."""
    jid = key.get("remoteJid")
    if not isinstance(jid, str) or len(jid) > LONGEST_JID or not jid.strip():
        return None
    if key.get("addressingMode") == "lid" and jid.isascii() and jid.isdigit():
        # Evolution cuts off a device and everything after it: "2019…:3@lid" arrives as "2019…".
        return f"{jid}@{_LID_SERVER}"
    return normalise_jid(jid)


def identities(
    key: Mapping[str, object], chat: str, *, from_me: bool, owner: str | None = None
) -> tuple[str, ...]:
    """Return the JIDs of `chat`; for a person the phone JID and the LID, the chat's own JID first.

    There is at most one of each kind, and never the owner's: a wrong identity would merge the
    sessions of two people, and show one of them what the other wrote.
    """
    kind = kind_of(chat)
    if kind is JidKind.PHONE:
        wanted = JidKind.LID
    elif kind is JidKind.LID:
        wanted = JidKind.PHONE
    else:
        return (chat,)
    for field in _OF_CHAT if from_me else _OF_CHAT + _OF_SENDER:
        value = key.get(field)
        if isinstance(value, str):
            other = normalise_jid(value)
            if kind_of(other) is wanted and other != owner:
                return (chat, other)
    return (chat,)
