"""What a message can contain, in the format in which Evolution API 2.3.6 passes it on.

Long numbers are `{low, high, unsigned}`, bytes are `{"0": 4, "1": 16}`. Text and extended text are
both `conversation`. `contextInfo` contains the quoted message and the clicked ad. Ephemeral and
view-once messages stay wrapped.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]

ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
"""A PNG in base64: the content of all media of the loopback phones."""


@dataclass(frozen=True, slots=True)
class Content:
    """One message's content. `context` None with `has_context` means `contextInfo: null`.

    `shown` is its line in the chat; empty if it has none (a reaction). For media that was sent
    through the REST API, `source` says what was given, and `raw` are its bytes.
    """

    message: Json
    message_type: str
    has_context: bool = True
    context: Json | None = None
    shown: str = ""
    is_media: bool = False
    source: str | None = None
    raw: bytes | None = None


def text(body: str) -> Content:
    """Return a plain text."""
    return Content({"conversation": body}, "conversation", has_context=False, shown=body)


def quoting(body: str, wa_id: str, quoted: str, participant: str) -> Content:
    """Return a text that quotes the message `wa_id` with the text `quoted` by `participant`."""
    context = {
        "stanzaId": wa_id,
        "participant": participant,
        "quotedMessage": {"conversation": quoted},
    }
    return replace(text(body), has_context=True, context=_no_mentions() | context)


def ad_reply(body: str, title: str = "Oferta da semana") -> Content:
    """Return a text that began with a click on an advertisement."""
    ad = {"title": title, "body": "Veja", "sourceUrl": "https://ads.example/x", "ctwaClid": "clid1"}
    context = _no_mentions() | {"conversionSource": "FB_Ads", "externalAdReply": ad}
    return replace(text(body), has_context=True, context=context)


def image(caption: str | None = None) -> Content:
    """Return a picture."""
    extra: Json = {"interactiveAnnotations": [], "scanLengths": [], "annotations": []}
    return _media("imageMessage", "image/jpeg", extra | _given(caption=caption), caption)


def video(caption: str | None = None, *, seconds: int = 4) -> Content:
    """Return a video."""
    extra: Json = {"interactiveAnnotations": [], "annotations": [], "processedVideos": []}
    extra |= {"seconds": seconds} | _given(caption=caption)
    return _media("videoMessage", "video/mp4", extra, caption)


def voice(seconds: int = 7) -> Content:
    """Return a voice message."""
    return _media("audioMessage", "audio/ogg; codecs=opus", {"seconds": seconds, "ptt": True})


def audio(seconds: int = 60) -> Content:
    """Return an audio file."""
    return _media("audioMessage", "audio/mpeg", {"seconds": seconds, "ptt": False})


def sticker() -> Content:
    """Return a sticker."""
    return _media("stickerMessage", "image/webp", {})


def document(name: str, caption: str | None = None) -> Content:
    """Return a document; one with a caption has no title and no contextInfo."""
    extra = {"fileName": name} | (_given(caption=caption) or {"title": name})
    content = _media("documentMessage", "application/pdf", extra, caption)
    return replace(content, has_context=caption is None)


def location(name: str, address: str, latitude: float = -23.5, longitude: float = -46.6) -> Content:
    """Return a place on the map."""
    place = {"degreesLatitude": latitude, "degreesLongitude": longitude}
    return _of("locationMessage", place | {"name": name, "address": address}, name)


def contact_card(name: str, number: str) -> Content:
    """Return the card of another contact."""
    vcard = f"BEGIN:VCARD\nVERSION:3.0\nFN:{name}\nTEL;waid={number}:+{number}\nEND:VCARD"
    return _of("contactMessage", {"displayName": name, "vcard": vcard}, name)


def list_reply(title: str, row: str, description: str = "") -> Content:
    """Return a choice from a list."""
    reply = {"title": title, "listType": 1, "singleSelectReply": {"selectedRowId": row}}
    return _of("listResponseMessage", reply | {"description": description}, title)


def button_reply(label: str, button: str = "button1") -> Content:
    """Return a button pressed."""
    reply = {"selectedButtonId": button, "selectedDisplayText": label, "type": 1}
    return _of("buttonsResponseMessage", reply, label)


def template_button_reply(label: str, button: str = "id1") -> Content:
    """Return a template's button pressed."""
    reply = {"selectedId": button, "selectedDisplayText": label, "selectedIndex": 0}
    return _of("templateButtonReplyMessage", reply, label)


def interactive_reply(label: str, params: str = '{"id":"x"}') -> Content:
    """Return an answer to an interactive message."""
    flow = {"name": "quick_reply", "paramsJson": params, "version": 3}
    reply = {"body": {"text": label}, "nativeFlowResponseMessage": flow}
    return _of("interactiveResponseMessage", reply, label)


def poll(question: str, *options: str) -> Content:
    """Return a poll."""
    choices = [{"optionName": option} for option in options]
    body = {"options": choices, "name": question, "selectableOptionsCount": 1}
    return _of("pollCreationMessageV3", body, question)


def reaction(emoji: str, key: Mapping[str, Any], sent_at: float) -> Content:
    """Return a reaction to the message with this key; an empty emoji removes it."""
    milliseconds = int(sent_at * 1000)
    stamp = {"low": _signed(milliseconds), "high": milliseconds >> 32, "unsigned": False}
    body = {"key": dict(key), "text": emoji, "senderTimestampMs": stamp}
    return replace(_of("reactionMessage", body, shown=""), has_context=False)


def reaction_sent(emoji: str, key: Mapping[str, Any], sent_at: float) -> Content:
    """Return a reaction that was sent through the REST API: its time is a plain number."""
    body = {"text": emoji, "key": dict(key), "senderTimestampMs": int(sent_at * 1000)}
    return replace(_of("reactionMessage", body, shown=""), has_context=False)


def ephemeral(body: str) -> Content:
    """Return a text in a chat with disappearing messages."""
    inner = {"message": {"extendedTextMessage": {"text": body}}}
    return replace(_of("ephemeralMessage", inner, body), has_context=False)


def view_once(caption: str | None = None) -> Content:
    """Return a picture that may be seen once."""
    picture = image(caption)
    picture.message["imageMessage"]["viewOnce"] = True
    return replace(
        _of("viewOnceMessageV2", {"message": picture.message}, picture.shown), has_context=False
    )


def as_cloud(content: Content) -> Content:
    """Return the content as a WHATSAPP-BUSINESS instance passes it on."""
    name: str
    name, body = next(iter(content.message.items()))
    message: Json
    match name:
        case "imageMessage" | "videoMessage" | "documentMessage" | "stickerMessage":
            kept = {"id": "MID1", "mime_type": body["mimetype"], "sha256": "x"}
            message = {
                name: kept | _given(caption=body.get("caption"), filename=body.get("fileName"))
            }
        case "audioMessage":
            kept = {"id": "AID1", "mime_type": body["mimetype"], "voice": body["ptt"]}
            message = {name: kept | {"ptt": body["ptt"]}}
        case "buttonsResponseMessage" | "templateButtonReplyMessage":
            return _cloud_text(body["selectedDisplayText"], "buttonMessage")
        case "interactiveResponseMessage":
            return _cloud_text(body["body"]["text"], "interactiveMessage")
        case "listResponseMessage":
            return _cloud_text(body["title"], "interactiveMessage")
        case "locationMessage":
            message = {name: {key: body[key] for key in ("degreesLatitude", "degreesLongitude")}}
        case "reactionMessage":
            message = {name: {"key": {"id": body["key"]["id"]}, "text": body["text"]}}
        case _:
            return content
    return replace(content, message=message, has_context=False)


def with_base64(content: Content) -> Json:
    """Return the message with its bytes, for a webhook with base64 switched on."""
    return content.message | base64_of(content)


def base64_of(content: Content) -> Json:
    """Return the part of a message that contains its bytes; empty if it is not media."""
    if not content.is_media:
        return {}
    return {"base64": ONE_PIXEL if content.raw is None else b64encode(content.raw).decode()}


def _cloud_text(body: str, message_type: str) -> Content:
    return replace(text(body), message_type=message_type)


def _of(message_type: str, body: Json, shown: str) -> Content:
    return Content({message_type: body}, message_type, shown=shown)


def _media(message_type: str, mimetype: str, extra: Json, caption: str | None = None) -> Content:
    body = {
        "url": "https://mmg.whatsapp.example/v/x.enc",
        "mimetype": mimetype,
        "fileSha256": {"0": 0, "1": 0, "2": 0},
        "fileLength": {"low": 12345, "high": 0, "unsigned": True},
        "mediaKey": {"0": 4, "1": 16, "2": 65},
        "fileEncSha256": {"0": 8, "1": 32, "2": 130},
        "directPath": "/v/x.enc",
        "mediaKeyTimestamp": {"low": 1700000000, "high": 0, "unsigned": False},
    }
    shown = caption or f"<{message_type.removesuffix('Message')}>"
    return Content({message_type: body | extra}, message_type, shown=shown, is_media=True)


def _given(**fields: str | None) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _no_mentions() -> Json:
    return {"mentionedJid": [], "groupMentions": []}


def _signed(number: int) -> int:
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low
