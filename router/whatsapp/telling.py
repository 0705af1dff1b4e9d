"""Makes the key of a message's content, by which the echo of our own send is recognised.

The key is made from the reading of a message, so a send and its echo have the same key if the
readers put both into the same words. Facts that are unknown before the send (the length of a
recording, its words) are left out. Sends over a phone and over the Cloud API have different keys:
on the Cloud API a voice message comes back as plain audio, and audio that the owner sends by hand
from the phone must not be taken for it.

The ids of Evolution's own sends over Baileys begin with 3EB0, like those of WhatsApp Web. The ids
of messages that are typed in WhatsApp's apps begin with AC (Android), 3A (iOS) or 3F (the desktop
programs); Baileys' getDevice uses the same rule. Such a message gets a key that none of our sends
has, even if it has the same words.
"""

import hashlib
import re

from router.whatsapp.clean import as_text
from router.whatsapp.reading import Reading

_LENGTH = 32
_OF_A_PHONE = re.compile(r"[0-9A-Za-z]+")
_BY_HAND = re.compile(r"AC[0-9A-F]{30}|3[AF][0-9A-F]{18}")
_RECORDED = ("audio", "ptt")
_CAPTIONED = ("image", "video", "sticker")


def telling(reading: Reading, wa_id: str) -> str:
    """Return the key of a message with this reading and the id `wa_id`."""
    if was_typed_on_a_phone(wa_id):
        return _key("hand", reading)
    return telling_of(reading, by_phone=_OF_A_PHONE.fullmatch(wa_id) is not None)


def was_typed_on_a_phone(wa_id: str) -> bool:
    """Return whether the id was made by one of WhatsApp's own apps; Evolution makes no such ids."""
    return _BY_HAND.fullmatch(wa_id) is not None


def telling_of(reading: Reading, *, by_phone: bool) -> str:
    """Return the key of a message that is sent over a phone (Baileys), or another channel."""
    return _key("phone" if by_phone else "other", reading)


def _key(way: str, reading: Reading) -> str:
    said = "\n".join((way, reading.kind, _words(reading)))
    return hashlib.sha256(said.encode()).hexdigest()[:_LENGTH]


def folded(text: str) -> str:
    """Return the text with each run of white space as one space."""
    return " ".join(text.split())


def _words(reading: Reading) -> str:
    media = reading.media or {}
    caption = folded(as_text(media.get("caption")))
    if reading.kind in _RECORDED:
        return ""
    if reading.kind in _CAPTIONED:
        return caption
    if reading.kind == "document":
        name = folded(as_text(media.get("file_name")))
        return f"{name}\n{caption if caption != name else ''}"
    return folded(reading.text)
