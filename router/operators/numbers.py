"""A contact as an operator writes it, as the JIDs under which WhatsApp may know the same person.

WhatsApp keeps some old numbers in the form that they had when they were registered, and sendText
of Evolution API rewrites what it is given accordingly: Brazil's mobile numbers with or without the
ninth digit, Mexico's with or without the 1 and Argentina's with or without the 9 that follows the
country code.
"""

import re

from router.errors import Invalid
from router.webhook.jids import normalise_jid

_NOT_DIALLED = re.compile(r"[\s()+./-]")
_NUMBER = re.compile(r"[1-9][0-9]{6,14}")  # E.164, with the country code
_REWRITTEN = (
    # country, area; the digit that may be there; the rest
    re.compile(r"(55[1-9]{2})(9?)([6-9][0-9]{7})"),
    re.compile(r"(52)(1?)([0-9]{10})"),
    re.compile(r"(54)(9?)([0-9]{10})"),
)
_DIGIT = ("9", "1", "9")


def contact_jids(contact: str) -> tuple[str, ...]:
    """Return the JIDs of `contact`, a JID or a phone number with its country code; as given first.

    Raises Invalid for what is neither.
    """
    text = contact.strip()
    if "@" in text:
        jid = normalise_jid(text)
        if jid.endswith(("@s.whatsapp.net", "@lid")):
            return (jid,)
        raise Invalid(f"contact must be a person's JID (…@s.whatsapp.net, …@lid), not {contact!r}")
    number = _NOT_DIALLED.sub("", text)
    if not _NUMBER.fullmatch(number):
        raise Invalid(
            "contact must be a phone number with its country code, such as 5511955550001,"
            f" not {contact!r}"
        )
    return tuple(f"{spelling}@s.whatsapp.net" for spelling in _spellings(number))


def _spellings(number: str) -> tuple[str, ...]:
    for pattern, digit in zip(_REWRITTEN, _DIGIT, strict=True):
        if match := pattern.fullmatch(number):
            country, present, rest = match.groups()
            return number, country + ("" if present else digit) + rest
    return (number,)
