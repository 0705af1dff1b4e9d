"""Converts a contact that an operator typed into the JIDs under which WhatsApp may know the person.

WhatsApp keeps old numbers in the form in which they were registered, and Evolution's sendText
rewrites numbers accordingly: Brazil's mobile numbers with or without the ninth digit, Mexico's with
or without the 1, and Argentina's with or without the 9 after the country code.
"""

import re

from router.errors import Invalid
from router.whatsapp.jids import JidKind, kind_of, normalise_jid

_NUMBER = re.compile(r"[1-9][0-9]{6,14}")  # E.164, with the country code
# Country (and area) code, the optional digit, the rest; and that digit.
_REWRITTEN = (
    # An eight-digit number that begins with 2 to 5 is a landline: a 9 would make it another number.
    (re.compile(r"(55[1-9]{2})(9?)([6-9][0-9]{7})"), "9"),
    (re.compile(r"(52)(1?)([0-9]{10})"), "1"),
    (re.compile(r"(54)(9?)([0-9]{10})"), "9"),
)


def contact_jids(contact: str) -> tuple[str, ...]:
    """Return the JIDs of `contact`, a JID or a phone number with country code; the given one first.

    Raises Invalid if it is neither.
    """
    jid = normalise_jid(contact)
    if kind_of(jid) is JidKind.LID:
        return (jid,)
    number = jid.partition("@")[0]
    if kind_of(jid) is not JidKind.PHONE or not _NUMBER.fullmatch(number):
        raise Invalid(
            "contact must be a phone number with its country code, such as 5511955550001,"
            f" or a person's JID, not {contact!r}"
        )
    return spellings_of(jid)


def spellings_of(jid: str) -> tuple[str, ...]:
    """Return the JIDs under which WhatsApp may know a typed JID; the typed one first.

    SQL's `hybridflow.spellings_typed` does the same.
    """
    if kind_of(jid) is not JidKind.PHONE:
        return (jid,)
    return tuple(f"{spelling}@s.whatsapp.net" for spelling in _spellings(jid.partition("@")[0]))


def _spellings(number: str) -> tuple[str, ...]:
    for pattern, digit in _REWRITTEN:
        if match := pattern.fullmatch(number):
            country, present, rest = match.groups()
            return number, country + ("" if present else digit) + rest
    return (number,)
