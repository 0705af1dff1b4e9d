"""By what a message of ours is known when it comes back: a key of what it says.

A key is made of the reading of a message, so a send and its echo have the same one if the readers
tell both alike. What nobody knows before it is sent (how long a recording is, what Evolution will
hear in it) is left out. What a phone sends and what comes by the Cloud API have different keys:
there a voice message comes back as a plain audio, and nothing that an owner sends by hand from the
phone may be taken for it.

Evolution's own sends over Baileys are called 3EB0…, as WhatsApp Web calls them. What was typed in
WhatsApp on a phone is called AC… (Android), 3A… (iOS) or 3F… (the desktop programs); Baileys'
getDevice reads the same from it. Such a message has a key that no send of ours has, though it says
the same, word for word.
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
    """Return the key of a message that was read so and is called `wa_id`."""
    if was_typed_on_a_phone(wa_id):
        return _key("hand", reading)
    return telling_of(reading, by_phone=_OF_A_PHONE.fullmatch(wa_id) is not None)


def was_typed_on_a_phone(wa_id: str) -> bool:
    """Return whether the id is one that WhatsApp's own apps give, and Evolution never does."""
    return _BY_HAND.fullmatch(wa_id) is not None


def telling_of(reading: Reading, *, by_phone: bool) -> str:
    """Return the key of a message that goes by a phone (Baileys), or by another channel."""
    return _key("phone" if by_phone else "other", reading)


def _key(way: str, reading: Reading) -> str:
    said = "\n".join((way, reading.kind, _words(reading)))
    return hashlib.sha256(said.encode()).hexdigest()[:_LENGTH]


def folded(text: str) -> str:
    """Return the text with its white space folded."""
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
