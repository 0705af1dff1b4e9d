"""Reads the customer's number from a message id of the Cloud API: it proves whose message it is.

Evolution 2.3 handles the Cloud API's webhooks with shared state: when several customers write at
once, it may put one customer's JID on another's message (EvolutionAPI/evolution-api#1848, #2407).
Answering that would show one customer what another wrote. Meta's ids contain the right number:
`wamid.` and base64 of `1c 18 <length> <digits> …`, as the examples in Meta's documentation show.
"""

import binascii
from base64 import b64decode

from router.whatsapp.jids import JidKind, kind_of, normalise_jid

_PREFIX = "wamid."
_HEAD = b"\x1c\x18"
_LONGEST_NUMBER = 15  # E.164
_SAME_TAIL = 8  # digits that are the same in all spellings of a number


def number_in(wa_id: str) -> str | None:
    """Return the phone number inside a Cloud API message id, or None if there is none."""
    if not wa_id.startswith(_PREFIX):
        return None
    try:
        raw = b64decode(wa_id[len(_PREFIX) :] + "==")
    except (binascii.Error, ValueError):
        return None
    if raw[:2] != _HEAD or len(raw) < 3:
        return None
    number = raw[3 : 3 + raw[2]]
    if len(number) != raw[2] or not _SAME_TAIL <= len(number) <= _LONGEST_NUMBER:
        return None
    return number.decode("ascii") if number.isdigit() else None


def corrected(jids: tuple[str, ...], wa_id: str) -> tuple[str, ...]:
    """Return the JIDs of the message's chat, corrected if its id has another person's number."""
    number = number_in(wa_id)
    if number is None or kind_of(jids[0]) is not JidKind.PHONE:
        return jids
    if jids[0].partition("@")[0][-_SAME_TAIL:] == number[-_SAME_TAIL:]:
        return jids
    return (normalise_jid(number),)
