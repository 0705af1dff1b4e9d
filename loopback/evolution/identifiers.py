"""Ids and addresses in the formats of WhatsApp and Evolution API 2.3.6."""

import random
import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Literal

Channel = Literal["WHATSAPP-BAILEYS", "WHATSAPP-BUSINESS", "EVOLUTION"]
Device = Literal["android", "ios", "web"]

_PREFIX_AND_LENGTH: dict[Device, tuple[str, int]] = {
    "android": ("AC", 32),
    "ios": ("3A", 20),
    "web": ("3EB0", 22),
}
_BRAZILIAN_MOBILE = re.compile(r"(55)(\d{2})\d(\d{8})")
_NOT_IN_NUMBERS = re.compile(r"\D")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def message_id(device: Device) -> str:
    """Return an id like a phone's or WhatsApp Web's; Evolution derives `source` from its format."""
    prefix, length = _PREFIX_AND_LENGTH[device]
    return prefix + secrets.token_hex(16).upper()[: length - len(prefix)]


def cloud_message_id() -> str:
    """Return an id like those of Meta's Cloud API."""
    return "wamid.HBg" + secrets.token_hex(16).upper()


def row_id() -> str:
    """Return an id like those of Evolution's database (a cuid)."""
    return "cm" + "".join(random.choices(_BASE36, k=23))


def instance_id() -> str:
    """Return an id like those of Evolution's instances."""
    return str(uuid.uuid4())


def javascript_date(seconds: float) -> str:
    """Return a time in the format of JSON.stringify."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def phone_jid(number: str) -> str:
    """Return the JID of a phone number, without Evolution's changes to the number."""
    return f"{number}@s.whatsapp.net"


def addressed(number: str) -> str:
    """Return the JID to which Evolution sends for `number`.

    This follows createJid in Evolution's source. JIDs of phones, LIDs and groups stay. Mexican and
    Argentinian numbers of 13 digits lose the third digit. Brazilian mobile numbers lose the ninth
    digit if the area code is 31 or higher and the local number begins with 7, 8 or 9.
    """
    if any(server in number for server in ("@g.us", "@s.whatsapp.net", "@lid", "@broadcast")):
        return number
    digits = _NOT_IN_NUMBERS.sub("", number.partition(":")[0].partition("@")[0])
    if len(digits) >= 18:
        return f"{digits}@g.us"
    if digits[:2] in ("52", "54") and len(digits) == 13:
        digits = digits[:2] + digits[3:]
    return phone_jid(_without_ninth(digits))


def same_phone(one: str, other: str) -> bool:
    """Return whether two JIDs are the same phone, with or without Brazil's ninth digit."""
    (digits, _, server), (others, _, others_server) = one.partition("@"), other.partition("@")
    return server == others_server and _without_ninth(digits) == _without_ninth(others)


def _without_ninth(digits: str) -> str:
    if mobile := _BRAZILIAN_MOBILE.fullmatch(digits):
        country, area, rest = mobile.groups()
        if int(rest[0]) >= 7 and int(area) >= 31:
            return f"{country}{area}{rest}"
    return digits
