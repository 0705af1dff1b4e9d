"""Builds the message in which a send comes back from Evolution, for each channel.

The response to a send, its `send.message`, the echo of another session and the record in
findMessages all contain the same message, which the webhook's readers put into words. This module
builds that message from the request, and the same readers put it into words. So the history, the
evidence and the LLM have the same words, wherever these come from. It leaves out what only
Evolution knows (keys, lengths, durations), and the bytes or URL of a picture.

The formats are those of Evolution 2.3.6: a phone's (Baileys), the Cloud API's, which flattens lists
and buttons into a text, and the EVOLUTION channel's, whose media has no caption.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from router.whatsapp.clean import JsonObject, as_list, as_object, as_text
from router.whatsapp.content import innermost, read_content
from router.whatsapp.reading import Reading
from router.whatsapp.telling import telling_of

Body: TypeAlias = Mapping[str, object]
Channel: TypeAlias = Literal["baileys", "cloud", "evolution"]

_NAME_IN_URL = re.compile(r".*/(.+?)\.", re.DOTALL)  # as Evolution's own
_MEDIA_TYPES = ("image", "video", "document", "audio")
_NOTHING = Reading("unsupported", "[message]")


@dataclass(frozen=True, slots=True)
class Echo:
    """A message in Evolution's format, with the type that it names."""

    message: JsonObject
    message_type: str
    channel: Channel = "baileys"

    @property
    def reading(self) -> Reading:
        """Return the message as the webhook's readers put it into words."""
        return read_content(innermost(self.message), self.message_type) or _NOTHING

    @property
    def telling(self) -> str:
        """Return the key by which the echo is recognised."""
        return telling_of(self.reading, by_phone=self.channel == "baileys")


def echoes_of(path: str, body: Body) -> tuple[Echo, ...]:
    """Return the messages in which a send may come back, a phone's first.

    Raises KeyError if the path sends nothing.
    """
    return tuple(_ECHOES[path](body))


def _text(body: Body) -> Iterator[Echo]:
    message: JsonObject = {"conversation": as_text(body.get("text"))}
    yield Echo(message, "conversation")
    yield Echo(message, "conversation", "cloud")


def _media(body: Body) -> Iterator[Echo]:
    kind = as_text(body.get("mediatype"))
    if kind not in _MEDIA_TYPES:
        kind = "document"
    name = f"{kind}Message"
    told = _given(body, "caption", "fileName")
    if kind == "document" and "fileName" not in told:
        found = _NAME_IN_URL.match(as_text(body.get("media")))
        told |= {"fileName": found[1]} if found else {}
    message: JsonObject = {name: told}
    yield Echo(message, name)
    yield Echo(message, name, "cloud")
    yield Echo({"mediaUrl": None}, name, "evolution")


def _round_video(_: Body) -> Iterator[Echo]:
    yield Echo({"ptvMessage": {}}, "ptvMessage")


def _voice(_: Body) -> Iterator[Echo]:
    yield Echo({"audioMessage": {"ptt": True}}, "audioMessage")
    yield Echo({"audioMessage": {}}, "audioMessage", "cloud")
    yield Echo({"mediaUrl": None}, "audioMessage", "evolution")


def _sticker(_: Body) -> Iterator[Echo]:
    yield Echo({"stickerMessage": {}}, "stickerMessage")


def _reaction(body: Body) -> Iterator[Echo]:
    key = dict(as_object(body.get("key")))
    message: JsonObject = {"reactionMessage": {"key": key, "text": as_text(body.get("reaction"))}}  # type: ignore[dict-item]
    yield Echo(message, "reactionMessage")
    yield Echo(message, "conversation", "cloud")


def _location(body: Body) -> Iterator[Echo]:
    place = {
        "degreesLatitude": body.get("latitude"),
        "degreesLongitude": body.get("longitude"),
        **_given(body, "name", "address"),
    }
    message: JsonObject = {"locationMessage": place}  # type: ignore[dict-item]
    yield Echo(message, "locationMessage")
    yield Echo(message, "locationMessage", "cloud")


def _contact(body: Body) -> Iterator[Echo]:
    cards = [_card(as_object(contact)) for contact in as_list(body.get("contact"))]
    if len(cards) == 1:
        yield Echo({"contactMessage": cards[0]}, "contactMessage")
        yield Echo({"contact": cards[0]}, "conversation", "cloud")
        return
    several: JsonObject = {
        "contactsArrayMessage": {"displayName": f"{len(cards)} contacts", "contacts": list(cards)}
    }
    yield Echo(several, "contactsArrayMessage")
    yield Echo(several, "conversation", "cloud")


def _card(contact: Mapping[str, object]) -> JsonObject:
    name, phone = as_text(contact.get("fullName")), as_text(contact.get("phoneNumber"))
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{name}", f"FN:{name}"]
    for field, line in (("organization", "ORG:{};"), ("email", "EMAIL:{}"), ("url", "URL:{}")):
        if contact.get(field):
            lines.append(line.format(as_text(contact[field])))
    wuid = as_text(contact.get("wuid")) or f"{phone}@s.whatsapp.net"
    lines += [f"item1.TEL;waid={wuid}:{phone}", "item1.X-ABLabel:Celular", "END:VCARD"]
    return {"displayName": name, "vcard": "\n".join(lines)}


def _poll(body: Body) -> Iterator[Echo]:
    poll: JsonObject = {
        "name": as_text(body.get("name")),
        "selectableOptionsCount": body.get("selectableCount"),  # type: ignore[dict-item]
        "options": [{"optionName": as_text(value)} for value in as_list(body.get("values"))],
    }
    yield Echo({"pollCreationMessageV3": poll}, "pollCreationMessageV3")


def _list(body: Body) -> Iterator[Echo]:
    fields = ("title", "description", "buttonText", "footerText", "sections")
    yield Echo({"listMessage": {**_given(body, *fields), "listType": 2}}, "listMessage")
    lines = [as_text(body.get("title"))]
    for section in map(as_object, as_list(body.get("sections"))):
        lines.append(as_text(section.get("title")))
        lines += [as_text(as_object(row).get("title")) for row in as_list(section.get("rows"))]
    yield _flattened(lines)


def _buttons(body: Body) -> Iterator[Echo]:
    buttons = [as_object(button) for button in as_list(body.get("buttons"))]
    flow: JsonObject = {"buttons": [_native(button) for button in buttons]}
    interactive: JsonObject = {"nativeFlowMessage": flow}
    if not any(button.get("type") == "pix" for button in buttons):
        interactive["body"] = {"text": _button_text(body)}
        interactive["footer"] = _given(body, text="footer")
    yield Echo(
        {"viewOnceMessage": {"message": {"interactiveMessage": interactive}}}, "viewOnceMessage"
    )
    title = as_text(body.get("title")) or "Select"
    labels = [f"▶️ {as_text(button.get('displayText'))}" for button in buttons]
    yield _flattened([title, *labels])
    yield Echo(
        _given(body, "title", "description", "footer", "buttons"), "buttonMessage", "evolution"
    )


def _button_text(body: Body) -> str:
    title, description = as_text(body.get("title")), as_text(body.get("description"))
    return f"*{title}*\n\n{description}\n" if description else f"*{title}*"


def _native(button: Mapping[str, object]) -> JsonObject:
    name = _BUTTONS.get(as_text(button.get("type")), "quick_reply")
    if name == "payment_info":  # Evolution gives it no label
        kind = _PIX_KEYS.get(as_text(button.get("keyType")))
        key = _given(button, "key", merchant_name="name") | ({"key_type": kind} if kind else {})
        return {
            "name": name,
            "buttonParamsJson": json.dumps({"payment_settings": [{"pix_static_code": key}]}),
        }
    shown = {"display_text": as_text(button.get("displayText"))} | _given(
        button, url="url", merchant_url="url", copy_code="copyCode", phone_number="phoneNumber"
    )
    return {"name": name, "buttonParamsJson": json.dumps(shown)}


def _flattened(lines: list[str]) -> Echo:
    return Echo({"conversation": "".join(f"{line}\n" for line in lines)}, "conversation", "cloud")


def _given(body: Body, *names: str, **renamed: str) -> JsonObject:
    """Return the named fields that the body has, some under another name."""
    wanted = {name: name for name in names} | renamed
    return {new: body[old] for new, old in wanted.items() if body.get(old)}  # type: ignore[misc]


_PIX_KEYS = {"phone": "PHONE", "email": "EMAIL", "cpf": "CPF", "cnpj": "CNPJ", "random": "EVP"}
_BUTTONS = {
    "reply": "quick_reply",
    "copy": "cta_copy",
    "url": "cta_url",
    "call": "cta_call",
    "pix": "payment_info",
}
_ECHOES: Mapping[str, Callable[[Body], Iterator[Echo]]] = {
    "message/sendText": _text,
    "message/sendMedia": _media,
    "message/sendPtv": _round_video,
    "message/sendWhatsAppAudio": _voice,
    "message/sendSticker": _sticker,
    "message/sendReaction": _reaction,
    "message/sendLocation": _location,
    "message/sendContact": _contact,
    "message/sendPoll": _poll,
    "message/sendList": _list,
    "message/sendButtons": _buttons,
}
PATHS = frozenset(_ECHOES)
"""Every path of Evolution by which HybridFlow sends messages to chats."""
