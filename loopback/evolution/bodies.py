"""Checks of the bodies of sends, as in the JSON schemas of Evolution's message.schema.ts."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from loopback.evolution.answers import refused, require, require_one_of
from loopback.evolution.chats import Json

Check = Callable[[Json], None]

_NUMERIC = re.compile(r"\d+")
_ONE = r"[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]"
_TONE = r"[\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
_FLAG = r"[\U0001f1e6-\U0001f1ff]{2}"
_EMOJI = re.compile(rf"{_FLAG}|[0-9#*]\ufe0f?\u20e3|{_ONE}{_TONE}(?:\u200d{_ONE}{_TONE})*")


def check_text(body: Json) -> None:
    """Check the body of sendText."""
    _check(body, {"text": "string"}, linkPreview="boolean")


def check_media(body: Json) -> None:
    """Check the body of sendMedia."""
    texts = {"mimetype": "string", "media": "string", "fileName": "string", "caption": "string"}
    _check(body, {"mediatype": "string"}, **texts)
    require_one_of(body, "mediatype", ("image", "document", "video", "audio"))


def check_audio(body: Json) -> None:
    """Check the body of sendWhatsAppAudio."""
    _check(body, {}, audio="string")


def check_video_note(body: Json) -> None:
    """Check the body of sendPtv."""
    _check(body, {}, video="string")


def check_sticker(body: Json) -> None:
    """Check the body of sendSticker."""
    _check(body, {}, sticker="string")


def check_location(body: Json) -> None:
    """Check the body of sendLocation."""
    place = {"latitude": "number", "longitude": "number", "name": "string", "address": "string"}
    _check(body, place)


def check_contact(body: Json) -> None:
    """Check the body of sendContact."""
    _check(body, {"contact": "array"})
    _require_items(body, "contact", 1)
    for contact in body["contact"]:
        require(contact, {"fullName": "string", "phoneNumber": "string"})


def check_poll(body: Json) -> None:
    """Check the body of sendPoll."""
    _check(body, {"name": "string", "selectableCount": "integer", "values": "array"})
    _require_items(body, "values", 2)


def check_list(body: Json) -> None:
    """Check the body of sendList."""
    texts = {"title": "string", "footerText": "string", "buttonText": "string"}
    _check(body, texts | {"sections": "array"}, description="string")
    _require_items(body, "sections", 1)
    for section in body["sections"]:
        require(section, {"title": "string", "rows": "array"})
        _require_items(section, "rows", 1)
        for row in section["rows"]:
            require(row, {"title": "string", "rowId": "string"})


def check_buttons(body: Json) -> None:
    """Check the body of sendButtons."""
    texts = {"title": "string", "description": "string", "footer": "string"}
    _check(body, {"buttons": "array"}, thumbnailUrl="string", **texts)


def check_reaction(body: Json) -> None:
    """Check the body of sendReaction."""
    require(body, {"key": "object", "reaction": "string"})
    require(body["key"], {"id": "string", "remoteJid": "string", "fromMe": "boolean"})
    if body["reaction"] and not _EMOJI.fullmatch(body["reaction"]):
        raise refused("Reaction must be a single emoji or empty string")


def check_anything(_: Json) -> None:
    """Check nothing: for sends that only Baileys has."""


def _check(body: Json, fields: Mapping[str, str], **optional: str) -> None:
    number = {"number": "string"}
    require(body, number | dict(fields), optional=dict(optional))
    delay = body.get("delay", 0)
    if isinstance(delay, bool) or not isinstance(delay, int):
        raise refused(["Enter a value in milliseconds"])
    mentioned = body.get("mentioned", [])
    if not isinstance(mentioned, list) or not all(_is_numeric(each) for each in mentioned):
        raise refused(['"mentioned" must be an array of numeric strings'])
    key = quoted.get("key") if isinstance(quoted := body.get("quoted"), Mapping) else None
    if isinstance(key, Mapping) and "id" not in key:
        raise refused(['quoted.key requires property "id"'])


def _is_numeric(value: Any) -> bool:
    return isinstance(value, str) and _NUMERIC.match(value) is not None


def _require_items(body: Json, name: str, least: int) -> None:
    if len(body[name]) < least:
        raise refused([f"{name} does not meet minimum length of {least}"])
