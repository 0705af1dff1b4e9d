"""What the gateway accepts for each of Evolution's routes: the fields of 2.3.6, and no others.

Each field is passed on as it was read, or refused by name. Refused are fields that Evolution would
drop, that would make it look up something else, or that would send a text that was not checked. The
fence decides who gets the message, so a JID in a request is only compared with those of the turn's
contact.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.n8n.fields import (
    FLAG,
    LONGEST_TEXT,
    MEDIA,
    MESSAGE,
    NAME,
    NUMBER,
    PEOPLE,
    TEXT,
    TEXTS,
    BadField,
    Field,
    Fields,
    characters_in,
    object_of,
    objects_of,
    one_of,
    read_fields,
    refused,
    whole,
)
from router.outbound.media import is_address, name_in
from router.sending.telling import PATHS
from router.whatsapp.clean import JsonObject, as_list, as_object, as_text, clean
from router.whatsapp.jids import is_group, normalise_jid
from router.whatsapp.numbers import spellings_of

_MEDIA_PATH = "message/sendMedia"
PRESENCE_PATH = "chat/sendPresence"
LONGEST_DELAY = 10_000  # milliseconds
_MOST_CHARACTERS = 2 * LONGEST_TEXT  # of all texts in one field

_DIGITS = re.compile(r"[0-9]{5,20}(@(s\.whatsapp\.net|lid))?")
_DELAY = Field(whole(LONGEST_DELAY), (int, float))
_KEY: Fields = {"id": NAME, "remoteJid": NAME, "fromMe": FLAG}
_SAYS_WHAT = "a message is quoted by its id: what it says is not for a flow to say"
_QUOTED = Field(
    object_of(
        {
            "key": Field(object_of(_KEY, "id"), dict),
            "message": Field(refused(_SAYS_WHAT), (dict, list, str, int, float)),
        },
        "key",
    ),
    dict,
)
_TO: Fields = {"number": NAME, "delay": _DELAY}
_CALLING: Fields = {
    "quoted": _QUOTED,
    "mentioned": PEOPLE,
    "mentionsEveryOne": FLAG,
    "everyOne": FLAG,
}
_PERSON: Fields = {
    "fullName": TEXT,
    "wuid": NAME,
    "phoneNumber": TEXT,
    "organization": TEXT,
    "email": TEXT,
    "url": TEXT,
}
_ROW: Fields = {"title": TEXT, "description": TEXT, "rowId": TEXT}
_SECTION: Fields = {"title": TEXT, "rows": Field(objects_of(_ROW), list, keeps_empty=True)}
_BUTTON: Fields = {
    "type": Field(one_of("reply", "copy", "url", "call", "pix"), str),
    "displayText": TEXT,
    "id": TEXT,
    "url": TEXT,
    "copyCode": TEXT,
    "phoneNumber": TEXT,
    "currency": TEXT,
    "name": TEXT,
    "keyType": Field(one_of("phone", "email", "cpf", "cnpj", "random"), str),
    "key": TEXT,
}


@dataclass(frozen=True, slots=True)
class _Route:
    """The fields that a route accepts, those that it requires, and the field with media."""

    fields: Fields
    required: tuple[str, ...] = ()
    media: str | None = None


_ROUTES: Mapping[str, _Route] = {
    "message/sendText": _Route(
        {**_TO, **_CALLING, "text": MESSAGE, "linkPreview": FLAG}, ("text",)
    ),
    "message/sendMedia": _Route(
        {
            **_TO,
            **_CALLING,
            "mediatype": Field(one_of("image", "document", "video", "audio"), str),
            "mimetype": NAME,
            "media": MEDIA,
            "fileName": NAME,
            "caption": TEXT,
            "linkPreview": FLAG,
        },
        ("mediatype", "media"),
        "media",
    ),
    "message/sendPtv": _Route({**_TO, **_CALLING, "video": MEDIA}, ("video",), "video"),
    # Evolution drops quotes and mentions of a voice message or a contact.
    "message/sendWhatsAppAudio": _Route(
        {**_TO, "audio": MEDIA, "encoding": FLAG}, ("audio",), "audio"
    ),
    "message/sendSticker": _Route(
        {**_TO, **_CALLING, "sticker": MEDIA, "notConvertSticker": FLAG}, ("sticker",), "sticker"
    ),
    "message/sendReaction": _Route(
        {"number": NAME, "key": Field(object_of(_KEY, "id", "remoteJid"), dict), "reaction": TEXT},
        ("key",),
    ),
    "message/sendLocation": _Route(
        {
            **_TO,
            **_CALLING,
            "latitude": NUMBER,
            "longitude": NUMBER,
            "name": TEXT,
            "address": TEXT,
        }
    ),
    "message/sendContact": _Route(
        {**_TO, "contact": Field(objects_of(_PERSON), list, keeps_empty=True)}
    ),
    "message/sendPoll": _Route(
        {
            **_TO,
            **_CALLING,
            "name": TEXT,
            "selectableCount": Field(whole(10), (int, float)),
            "values": TEXTS,
        }
    ),
    "message/sendList": _Route(
        {
            **_TO,
            **_CALLING,
            "title": TEXT,
            "description": TEXT,
            "footerText": TEXT,
            "buttonText": TEXT,
            "sections": Field(objects_of(_SECTION), list, keeps_empty=True),
        }
    ),
    "message/sendButtons": _Route(
        {
            **_TO,
            **_CALLING,
            "title": TEXT,
            "description": TEXT,
            "footer": TEXT,
            "thumbnailUrl": MEDIA,
            "buttons": Field(objects_of(_BUTTON), list, keeps_empty=True),
        },
        media="thumbnailUrl",
    ),
    PRESENCE_PATH: _Route(
        {
            **_TO,
            "presence": Field(
                one_of("unavailable", "available", "composing", "recording", "paused"), str
            ),
        }
    ),
}
assert _ROUTES.keys() == PATHS | {PRESENCE_PATH}  # noqa: S101 - no path without its whitelist


class NotTheContacts(Exception):
    """The request names somebody who is not the turn's contact, in the field `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: a turn answers its own contact, no other")
        self.name = name


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request. Its `body` contains neither the receiver nor the delay.

    `delay` is in seconds. `media` is the field of the body that has media, if any. `done` is the
    report of the turn's end, if the turn ends with this message.
    """

    path: str
    body: Mapping[str, Any] = field(repr=False)
    delay: float = 0
    media: str | None = None
    done: Mapping[str, Any] | None = None


def is_known(path: str) -> bool:
    """Whether the gateway has this path."""
    return path in _ROUTES


def read_request(path: str, body: Mapping[str, Any], contact: tuple[str, ...]) -> Asked:
    """Return the checked request; `contact` are the JIDs that it may name.

    Raises BadField and NotTheContacts.
    """
    route = _ROUTES[path]
    done, body = _done_of(path, body)
    _require_short({name: value for name, value in body.items() if name != route.media})
    found = read_fields(route.fields, body)
    for name in route.required:
        if not found.get(name):
            raise BadField(name, "it is missing")
    for name, jid in _named(found):
        # People type numbers in several spellings; the fence decides who receives the message.
        known = spellings_of(jid) if name == "number" else (jid,)
        if set(known).isdisjoint(contact) and not (name == "mentioned" and is_group(contact[0])):
            raise NotTheContacts(name)
    delay = found.pop("delay", 0)
    found.pop("number", None)
    if quoted := as_object(found.get("quoted")):
        # Only the id is passed on. The fence checks it, and Evolution knows the rest.
        found["quoted"] = {"key": {"id": as_text(as_object(quoted["key"])["id"])}}
    if key := as_object(found.get("key")):
        # Evolution sends a reaction to this JID and ignores the number.
        found["key"] = {**key, "remoteJid": normalise_jid(as_text(key["remoteJid"]))}  # type: ignore[dict-item]
    media = route.media if route.media in found else None
    if path == _MEDIA_PATH:
        _name(found)
    return Asked(path, found, float(delay) / 1000, media, done)  # type: ignore[arg-type]


def _done_of(
    path: str, body: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """Return the report of the turn's end in a body (or None), and the rest. Raises BadField."""
    if not (said := body.get("done")):
        return None, {name: value for name, value in body.items() if name != "done"}
    if path == PRESENCE_PATH:
        raise BadField("done", "a turn ends with something that is said, or by its urls.done")
    if said is not True and not isinstance(said, dict):
        raise BadField("done", "it must be true, or an object as urls.done takes")
    rest = {name: value for name, value in body.items() if name != "done"}
    return ({} if said is True else said), rest


def _require_short(body: Mapping[str, Any]) -> None:
    """Raise BadField if a list or object is so large that checking it would take long."""
    for name, value in body.items():
        if isinstance(value, list | dict) and characters_in(value) > _MOST_CHARACTERS:
            raise BadField(clean(name[:200]), f"it has more than {_MOST_CHARACTERS} characters")


def _name(found: JsonObject) -> None:
    """Name a file after its URL, because Evolution derives its type from the extension.

    Evolution itself gets only the bytes. The contact reads the name. Raises BadField.
    """
    if found["mediatype"] not in ("document", "audio") or found.get("fileName"):
        return
    media = as_text(found["media"])
    if is_address(media) and (name := name_in(media)):
        found["fileName"] = name
    elif found["mediatype"] == "document":
        raise BadField("fileName", "a document must have one, with its ending")


def read_notice(body: Mapping[str, Any]) -> JsonObject:
    """Return the text of a notice. Raises BadField."""
    found = read_fields({"number": NAME, "text": MESSAGE}, body)
    if not found.get("text"):
        raise BadField("text", "it is missing")
    return found


def _named(found: JsonObject) -> Iterator[tuple[str, str]]:
    """Yield each field that names a JID, and the JID."""
    if number := as_text(found.get("number")):
        yield "number", normalise_jid(number)
    quoted = as_object(as_object(found.get("quoted")).get("key"))
    for name, key in (("quoted", quoted), ("key", as_object(found.get("key")))):
        if jid := as_text(key.get("remoteJid")):
            yield name, normalise_jid(jid)
    for jid in map(as_text, as_list(found.get("mentioned"))):
        if not _DIGITS.fullmatch(jid):
            raise BadField("mentioned", "it must be a list of numbers, as texts")
        yield "mentioned", normalise_jid(jid)
