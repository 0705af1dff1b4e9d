"""What each send of the REST API becomes on WHATSAPP-BAILEYS.

Each function returns the content that the socket gets, and that the answer, send.message, an echo
and the store show. `sending` adds the contextInfo.
"""

import hashlib
import json
import re
import secrets
import uuid
from dataclasses import replace

from loopback.evolution import contents
from loopback.evolution.answers import refused
from loopback.evolution.chats import Json
from loopback.evolution.contents import Content
from loopback.evolution.identifiers import addressed
from loopback.evolution.instance import Instance
from loopback.evolution.media import (
    Given,
    fetched,
    fetched_bare,
    file_name_in,
    given_media,
    given_voice,
    is_base64,
    kept_media,
    no_picture,
    picture,
    streamed,
    type_of,
)

_BUTTONS = {"reply": "quick_reply", "copy": "cta_copy", "url": "cta_url", "call": "cta_call"}
_PIX_KEYS = {"phone": "PHONE", "email": "EMAIL", "cpf": "CPF", "cnpj": "CNPJ", "random": "EVP"}
_BLANK = re.compile(r"\s*")
_VOICE = "audio/ogg; codecs=opus"
_SECONDS = 2


def text(_: Instance, body: Json) -> Content:
    """Make a text."""
    if _BLANK.fullmatch(body["text"]):
        raise refused("Text is required")
    return contents.text(body["text"])


def media(shop: Instance, body: Json) -> Content:
    """Make a picture, a video, a document or an audio file."""
    kind, name, caption = body["mediatype"], body.get("fileName"), body.get("caption")
    check_file_name(body)
    given = given_media(body.get("media"))
    if kind == "image":
        raw = fetched(given, shop.media_at, prefix="AxiosError: ")
        raw = picture(given, raw, refusal=no_picture(wrapped=True))
    else:
        raw = streamed(given, shop.media_at)
    name = name or _default_name(kind, given)
    mimetype = body.get("mimetype") or type_of(given.url)
    if name:
        mimetype = type_of(name)
    kept = kept_media(raw, mimetype or "false", shop.program.now())
    return _media(f"{kind}Message", kept | _extra(kind, raw, caption, name), given, raw, caption)


def voice(shop: Instance, body: Json) -> Content:
    """Make a voice message. Without a conversion, the bytes are sent unchanged."""
    given = given_voice(body.get("audio"))
    if body.get("encoding") is False:
        raw = streamed(given, shop.media_at, status=400)
    else:
        raw = b"as ogg " + fetched_bare(given, shop.media_at)
    kept = kept_media(raw, _VOICE, shop.program.now())
    return _media("audioMessage", kept | {"seconds": _SECONDS, "ptt": True}, given, raw)


def video_note(shop: Instance, body: Json) -> Content:
    """Make a round video."""
    given = given_media(body.get("video"))
    raw = streamed(given, shop.media_at)
    kept = kept_media(raw, "video/mp4", shop.program.now())
    return _media("ptvMessage", kept | {"seconds": _SECONDS}, given, raw)


def sticker(shop: Instance, body: Json) -> Content:
    """Make a sticker."""
    given = given_media(body.get("sticker"))
    raw = fetched_bare(given, shop.media_at)
    if not body.get("notConvertSticker"):
        raw = picture(given, raw, refusal=no_picture(wrapped=False))
    return _media("stickerMessage", kept_media(raw, "image/webp", shop.program.now()), given, raw)


def location(_: Instance, body: Json) -> Content:
    """Make a place on the map."""
    place = {"degreesLatitude": body["latitude"], "degreesLongitude": body["longitude"]}
    place |= {"name": body["name"], "address": body["address"]}
    return Content({"locationMessage": place}, "locationMessage", shown=body["name"])


def contact(_: Instance, body: Json) -> Content:
    """Make the card of one contact, or of several."""
    cards = contact_cards(body)
    if len(cards) == 1:
        name = cards[0]["displayName"]
        return Content({"contactMessage": cards[0]}, "contactMessage", shown=name)
    name = f"{len(cards)} contacts"
    message = {"contactsArrayMessage": {"contacts": cards, "displayName": name}}
    return Content(message, "contactsArrayMessage", shown=name)


def poll(_: Instance, body: Json) -> Content:
    """Make a poll."""
    choices = [{"optionName": value} for value in body["values"]]
    asked = {"name": body["name"], "selectableOptionsCount": body["selectableCount"]}
    secret = {str(place): value for place, value in enumerate(secrets.token_bytes(32))}
    message = {
        "messageContextInfo": {"messageSecret": secret},
        "pollCreationMessageV3": asked | {"options": choices},
    }
    return Content(message, "pollCreationMessageV3", shown=body["name"])


def listed(_: Instance, body: Json) -> Content:
    """Make a list to choose from."""
    fields = ("sections", "title", "description", "buttonText", "footerText")
    message = {name: body[name] for name in fields if name in body} | {"listType": 2}
    return Content({"listMessage": message}, "listMessage", shown=body["title"])


def buttons(_: Instance, body: Json) -> Content:
    """Make a message with buttons."""
    asked = body["buttons"]
    _check_buttons([button.get("type") for button in asked])
    flow = {
        "buttons": [_button(button) for button in asked],
        "messageParamsJson": _json({"from": "api", "templateId": str(uuid.uuid4())}),
    }
    inner: Json = {"nativeFlowMessage": flow}
    said = ""
    if asked[0].get("type") != "pix":
        said = f"*{body.get('title', 'undefined')}*"
        if body.get("description"):
            said += f"\n\n{body['description']}\n"
        footer = {"text": body["footer"]} if "footer" in body else {}
        inner = {"body": {"text": said}, "footer": footer} | inner
    message = {"viewOnceMessage": {"message": {"interactiveMessage": inner}}}
    return Content(message, "viewOnceMessage", has_context=False, shown=said.strip() or "<pix>")


def reaction(shop: Instance, body: Json) -> Content:
    """Make a reaction."""
    return contents.reaction_sent(body["reaction"], body["key"], shop.program.now())


def check_file_name(body: Json) -> None:
    """Raise the controller's refusal if a document in base64 has no name."""
    nameless = body["mediatype"] == "document" and not body.get("fileName")
    if nameless and is_base64(body.get("media")):
        raise refused("For base64 the file name must be informed.")


def contact_cards(body: Json) -> list[Json]:
    """Return the contacts' names and vcards. Without a `wuid`, the whole JID is used."""
    return [{"displayName": each["fullName"], "vcard": _vcard(each)} for each in body["contact"]]


def _vcard(person: Json) -> str:
    name, number = person["fullName"], person["phoneNumber"]
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{name}", f"FN:{name}"]
    if person.get("organization"):
        lines.append(f"ORG:{person['organization']};")
    if person.get("email"):
        lines.append(f"EMAIL:{person['email']}")
    if person.get("url"):
        lines.append(f"URL:{person['url']}")
    waid = person.get("wuid") or addressed(number)
    lines += [f"item1.TEL;waid={waid}:{number}", "item1.X-ABLabel:Celular", "END:VCARD"]
    return "\n".join(lines)


def _check_buttons(kinds: list[str | None]) -> None:
    if not kinds:
        raise refused("At least one button is required")
    others = any(kind not in ("reply", "pix") for kind in kinds)
    if "reply" in kinds:
        if len(kinds) > 3:
            raise refused("Maximum of 3 reply buttons allowed")
        if others:
            raise refused("Reply buttons cannot be mixed with other button types")
    if "pix" in kinds and len(kinds) > 1:
        raise refused("Only one PIX button is allowed")


def _button(button: Json) -> Json:
    label = {"display_text": button.get("displayText")}
    match button.get("type"):
        case "reply":
            what: Json = label | {"id": button.get("id")}
        case "url":
            what = label | {"url": button.get("url"), "merchant_url": button.get("url")}
        case "copy":
            what = label | {"copy_code": button.get("copyCode")}
        case "call":
            what = label | {"phone_number": button.get("phoneNumber")}
        case "pix":
            key = {"merchant_name": button.get("name"), "key": button.get("key")}
            kind = _PIX_KEYS.get(str(button.get("keyType")))
            code = {"type": "pix_static_code", "pix_static_code": key | {"key_type": kind}}
            nothing = {"value": 0, "offset": 100}
            item = {"name": "", "amount": nothing, "quantity": 0, "sale_amount": nothing}
            order = {"status": "pending", "subtotal": nothing, "order_type": "ORDER"}
            what = {
                "currency": button.get("currency"),
                "total_amount": nothing,
                "reference_id": uuid.uuid4().hex[:11].upper(),
                "type": "physical-goods",
                "order": order | {"items": [item]},
                "payment_settings": [code],
                "share_payment_status": False,
            }
            return {"name": "payment_info", "buttonParamsJson": _json(what)}
        case _:
            return {"buttonParamsJson": ""}
    return {"name": _BUTTONS[button["type"]], "buttonParamsJson": _json(what)}


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _default_name(kind: str, given: Given) -> str | None:
    match kind:
        case "document":
            return file_name_in(given.url or "")
        case "image":
            return "image.jpg"
        case "video":
            return "video.mp4"
    return None


def _extra(kind: str, raw: bytes, caption: str | None, name: str | None) -> Json:
    told = {"caption": caption} if caption else {}
    match kind:
        case "image":
            thumbnail = hashlib.sha256(raw).digest()[:8]
            shape: Json = {"interactiveAnnotations": [], "scanLengths": [], "annotations": []}
            shape |= {"height": 150, "width": 200}
            shape["jpegThumbnail"] = {str(place): byte for place, byte in enumerate(thumbnail)}
            return shape | told
        case "video":
            shape = {"interactiveAnnotations": [], "annotations": [], "processedVideos": []}
            return shape | told | {"gifPlayback": False}
        case "document":
            return {"fileName": name} | told
    return {"seconds": _SECONDS}  # audio has no caption


def _media(
    message_type: str, body: Json, given: Given, raw: bytes, caption: str | None = None
) -> Content:
    shown = caption or f"<{message_type.removesuffix('Message')}>"
    content = Content({message_type: body}, message_type, shown=shown, is_media=True)
    return replace(content, source=given.source, raw=raw)
