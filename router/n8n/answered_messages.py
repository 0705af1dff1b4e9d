"""Reads the messages in a flow's answer as requests to Evolution. Pure.

The allowed kinds and fields are a closed set. Anything else is refused by its name, so that a flow
always learns if something that it asked for is not done.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from router.llm.reasoning import without_reasoning, without_reasoning_in
from router.n8n.technical import why_technical
from router.n8n.wrappings import BadAnswer, is_left_empty
from router.outbound.media import is_address, name_in
from router.replies.making import Part
from router.replies.parts import parts_of
from router.sending.paths import (
    CONTACT_PATH,
    LOCATION_PATH,
    MEDIA_PATH,
    REACTION_PATH,
    STICKER_PATH,
    VOICE_PATH,
)
from router.whatsapp.clean import clean

MOST_MESSAGES = 20
MOST_PARTS = 100
MOST_BASE64 = 1_500_000  # characters in an answer, because it is stored with its turn
_LONGEST_TEXT = 65_536
_LONGEST_CAPTION = 1024
_LONGEST_LINE = 1024
_LONGEST_ADDRESS = 8192
_LONGEST_REACTION = 32
_NOT_BASE64 = re.compile(r"[\s=]")
_DATA = re.compile(
    r"\Adata:([a-zA-Z0-9.+-]{1,60}/[a-zA-Z0-9.+-]{1,90})?(?:;[^,;]{1,60}){0,3};base64,"
)
_LIKE_JSON = re.compile(r"\s*(?:\{\s*\"[^\"\n]{0,100}\"\s*:|\[\s*\{\s*\")")
_PHONE = re.compile(r"\+?[0-9][0-9 ().-]{5,24}")

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp", "bmp", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "3gp", "mkv", "webm", "avi", "m4v"), "video"),
    **dict.fromkeys(("mp3", "ogg", "oga", "opus", "wav", "m4a", "aac", "amr"), "audio"),
}
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xd8\xff", "image", "jpg"),
    (b"\x89PNG\r\n", "image", "png"),
    (b"GIF8", "image", "gif"),
    (b"%PDF", "document", "pdf"),
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What an answer may name of a turn's conversation: its address, and its messages.

    `from_me` says for each message id whether it is ours.
    """

    jid: str
    from_me: Mapping[str, bool]


def messages_of(messages: object, about: Conversation) -> tuple[Part, ...]:
    """Return the messages as parts of a reply. Raises BadAnswer."""
    if not isinstance(messages, list):
        raise BadAnswer("messages: it must be a list")
    if len(messages) > MOST_MESSAGES:
        raise BadAnswer(f"messages: {len(messages)} are too many, {MOST_MESSAGES} are allowed")
    parts: list[Part] = []
    for number, message in _thought_out(messages):
        parts += _message(message, f"messages[{number}]", about)
    if len(parts) > MOST_PARTS:
        raise BadAnswer(f"messages: they are {len(parts)} parts, {MOST_PARTS} are allowed")
    written = sum(_bytes_in(each) for each in parts)
    if written > MOST_BASE64:
        raise BadAnswer(
            f"messages: the base64 in them has {written} characters, {MOST_BASE64} are allowed:"
            " send large files by their URL"
        )
    return tuple(parts)


def _thought_out(messages: list[Any]) -> Iterator[tuple[int, object]]:
    """Yield the messages with their numbers, except those inside a model's thought."""
    texts = [_text_of(message) for message in messages]
    written = [number for number, text in enumerate(texts) if text is not None]
    shown = without_reasoning_in([clean(texts[number] or "") for number in written])
    said = dict(zip(written, shown, strict=True))
    says_nothing = not any(text.strip() for text in shown)
    for number, message in enumerate(messages):
        text = said.get(number)
        if text is None or says_nothing or not (texts[number] or "").strip():
            yield number, message
        elif text.strip():
            yield number, {**message, "text": text} if isinstance(message, dict) else text


def _text_of(message: object) -> str | None:
    text = message.get("text") if isinstance(message, dict) else message
    return text if isinstance(text, str) else None


def text_parts(text: object, where: str) -> tuple[str, ...]:
    """Divide a text for a customer into parts. Raises BadAnswer."""
    parts = parts_of(_for_people(text, where, _LONGEST_TEXT))
    if not parts:
        raise BadAnswer(f"{where}: there is no text in it")
    return parts


_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "text": (frozenset(), frozenset()),
    "media": (frozenset(), frozenset({"caption", "file_name"})),
    "audio": (frozenset(), frozenset()),
    "sticker": (frozenset(), frozenset()),
    "reaction": (frozenset({"to"}), frozenset()),
    "location": (frozenset(), frozenset()),
    "contact": (frozenset(), frozenset()),
}
"""For each kind of message, its required and its optional fields."""


def _bytes_in(each: Part) -> int:
    body = {} if isinstance(each, str) else each["body"]
    return sum(len(str(body.get(name, ""))) for name in ("media", "audio", "sticker"))


def _message(message: object, where: str, about: Conversation) -> tuple[Part, ...]:
    if isinstance(message, str):
        return text_parts(message, where)
    if not isinstance(message, dict):
        raise BadAnswer(f"{where}: it must be an object")
    said = {name: value for name, value in message.items() if not is_left_empty(value)}
    if not said.keys() & _FIELDS.keys():
        said = {name: value for name, value in message.items() if value is not None}
    kinds = [name for name in _FIELDS if name in said]
    if len(kinds) != 1:
        known = ", ".join(_FIELDS)
        raise BadAnswer(f"{where}: it must be one of {known}" + _but(kinds or sorted(said)))
    kind = kinds[0]
    needed, allowed = _FIELDS[kind]
    if unknown := sorted(said.keys() - {kind} - needed - allowed):
        raise BadAnswer(f"{where}.{unknown[0][:40]}: a {kind} has no such field")
    if missing := sorted(needed - said.keys()):
        raise BadAnswer(f"{where}.{missing[0]}: it is missing")
    return _READERS[kind](said, where, about)


def _but(names: list[str]) -> str:
    return f", not {', '.join(name[:40] for name in names[:5])}" if names else ""


def _text(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    return text_parts(said["text"], f"{where}.text")


def _media(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    content, mimetype = _content(said["media"], f"{where}.media")
    name = _line(said["file_name"], f"{where}.file_name") if said.get("file_name") else None
    if name is None and is_address(content):
        name = name_in(content)
    kind, name = _kind_of_media(content, name, mimetype, where)
    body: dict[str, Any] = {"mediatype": kind, "media": content}
    if said.get("caption"):
        caption = _for_people(said["caption"], f"{where}.caption", _LONGEST_CAPTION)
        body["caption"] = "\n\n".join(parts_of(caption))
    if name and kind in ("document", "audio"):
        body["fileName"] = name
    return (part(MEDIA_PATH, body),)


def _kind_of_media(
    content: str, name: str | None, mimetype: str | None, where: str
) -> tuple[str, str | None]:
    """Return the kind of media for the request to Evolution. Raises BadAnswer."""
    if name and "." in name:
        return _KINDS.get(name.rpartition(".")[2].lower(), "document"), name
    if mimetype and (family := mimetype.partition("/")[0]) in ("image", "video", "audio"):
        return family, name
    if not is_address(content):
        start = _decoded(content[:64], where)
        for begins, kind, ending in _BEGINNINGS:
            if start.startswith(begins):
                return kind, f"{name or 'file'}.{ending}"
        if start[4:8] == b"ftyp":
            return "video", name
    raise BadAnswer(
        f"{where}.file_name: it must be there, with its ending, which tells what the media is"
    )


def _voice(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    content, _mime = _content(said["audio"], f"{where}.audio")
    return (part(VOICE_PATH, {"audio": content}),)


def _sticker(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    content, _mime = _content(said["sticker"], f"{where}.sticker")
    return (part(STICKER_PATH, {"sticker": content}),)


def _reaction(said: Mapping[str, Any], where: str, about: Conversation) -> tuple[Part, ...]:
    sign = _line(said["reaction"], f"{where}.reaction")
    if len(sign) > _LONGEST_REACTION or sign.isascii():
        raise BadAnswer(f"{where}.reaction: it must be an emoji")
    to = _line(said["to"], f"{where}.to")
    if to not in about.from_me:
        raise BadAnswer(f"{where}.to: there is no such message in this turn's conversation")
    key = {"id": to, "remoteJid": about.jid, "fromMe": about.from_me[to]}
    return (part(REACTION_PATH, {"key": key, "reaction": sign}),)


def _location(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    place = _object(
        said["location"], f"{where}.location", ("latitude", "longitude", "name", "address"), ()
    )
    body = {
        "latitude": _degrees(place["latitude"], f"{where}.location.latitude", 90),
        "longitude": _degrees(place["longitude"], f"{where}.location.longitude", 180),
        "name": _for_people(place["name"], f"{where}.location.name", _LONGEST_LINE),
        "address": _for_people(place["address"], f"{where}.location.address", _LONGEST_LINE),
    }
    return (part(LOCATION_PATH, body),)


def _contact(said: Mapping[str, Any], where: str, _: Conversation) -> tuple[Part, ...]:
    person = _object(
        said["contact"], f"{where}.contact", ("name", "phone"), ("organization", "email", "url")
    )
    phone = _line(person["phone"], f"{where}.contact.phone")
    digits = re.sub(r"\D", "", phone)
    if not _PHONE.fullmatch(phone) or not 6 <= len(digits) <= 15:
        raise BadAnswer(f"{where}.contact.phone: it must be a number with its country code")
    card: dict[str, str] = {
        "fullName": _for_people(person["name"], f"{where}.contact.name", _LONGEST_LINE),
        "wuid": digits,
        "phoneNumber": f"+{digits}",
    }
    for name in ("organization", "email", "url"):
        if person.get(name):
            card[name] = _for_people(person[name], f"{where}.contact.{name}", _LONGEST_LINE)
    return (part(CONTACT_PATH, {"contact": [card]}),)


_READERS = {
    "text": _text,
    "media": _media,
    "audio": _voice,
    "sticker": _sticker,
    "reaction": _reaction,
    "location": _location,
    "contact": _contact,
}


def part(path: str, body: Mapping[str, Any]) -> Part:
    """Return a part of a reply that is not a text: the request to Evolution without the number."""
    return {"path": path, "body": dict(body)}


def _for_people(value: object, where: str, longest: int) -> str:
    """Return a text that a customer will read. Raises BadAnswer."""
    if not isinstance(value, str):
        raise BadAnswer(f"{where}: it must be a text")
    if len(value) > longest:
        raise BadAnswer(f"{where}: it has {len(value)} characters, {longest} are allowed")
    text = without_reasoning(clean(value)).strip()
    if not text:
        raise BadAnswer(f"{where}: there is no text in it")
    if (why := "JSON" if _LIKE_JSON.match(text) else why_technical(text)) is not None:
        raise BadAnswer(f"{where}: it is {why}, and no text for a customer")
    return text


def _line(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadAnswer(f"{where}: it must be a text")
    if len(value) > _LONGEST_LINE:
        raise BadAnswer(f"{where}: it has more than {_LONGEST_LINE} characters")
    return " ".join(clean(value).split())


def _content(value: object, where: str) -> tuple[str, str | None]:
    """Return a media's URL, or its bytes in base64, and the type that a data URL names."""
    if not isinstance(value, str) or not value.strip():
        raise BadAnswer(f"{where}: it must be an address, or base64")
    text = clean(value).strip()
    if is_address(text):
        if len(text) > _LONGEST_ADDRESS:
            raise BadAnswer(f"{where}: an address has {_LONGEST_ADDRESS} characters at most")
        return text, None
    mimetype = None
    if said := _DATA.match(text):
        mimetype, text = said[1], text[said.end() :]
    return base64.b64encode(_decoded(text, where)).decode(), mimetype


def _decoded(given: str, where: str) -> bytes:
    written = _NOT_BASE64.sub("", given).translate({ord("-"): "+", ord("_"): "/"})
    try:
        content = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise BadAnswer(
            f"{where}: it must be base64, or an address that begins with http:// or https://"
        )
    return content


def _degrees(value: object, where: str, most: int) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise BadAnswer(f"{where}: it must be a number of degrees")
    return float(value)


def _object(
    value: object, where: str, needed: tuple[str, ...], allowed: tuple[str, ...]
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(f"{where}: it must be an object")
    for name in needed:
        if value.get(name) is None:
            raise BadAnswer(f"{where}.{name}: it is missing")
    for name, given in value.items():
        if name not in needed and name not in allowed and given is not None:
            raise BadAnswer(f"{where}.{name[:40]}: there is no such field")
    return value
