"""The customer's number inside a message id of the Cloud API: proof of whose message it is.

Evolution 2.3 handles the Cloud API's webhooks with shared state: when several customers write at
once, it puts the JID of one on the message of another (EvolutionAPI/evolution-api#1848, #2407).
Answering that would show one customer what another wrote. Meta's ids carry the right number:
`wamid.` and base64 of `1c 18 <length> <digits> …`, as the examples in Meta's documentation show.
"""

import binascii
from base64 import b64decode

from router.whatsapp.jids import JidKind, kind_of, normalise_jid

_PREFIX = "wamid."
_HEAD = b"\x1c\x18"
_LONGEST_NUMBER = 15  # E.164
_SAME_TAIL = 8  # what is left of a number where WhatsApp and its users disagree about prefixes


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
    """Return the JIDs of the message's chat, put right if its id belongs to somebody else."""
    number = number_in(wa_id)
    if number is None or kind_of(jids[0]) is not JidKind.PHONE:
        return jids
    if jids[0].partition("@")[0][-_SAME_TAIL:] == number[-_SAME_TAIL:]:
        return jids
    return (normalise_jid(number),)
