"""What each send of the REST API becomes on WHATSAPP-BUSINESS (whatsapp.business.service.ts).

Buttons and lists are reported as flat texts, reactions and contacts as messages of the type
`conversation`. Media in base64 is contained whole in `message.<type>.media`.
"""

from dataclasses import replace

from loopback.evolution.answers import Refusal, refused
from loopback.evolution.baileys_sends import check_file_name, contact_cards
from loopback.evolution.chats import Json
from loopback.evolution.contents import Content
from loopback.evolution.instance import Instance
from loopback.evolution.media import Given, file_name_in, given_media, given_voice, type_of

NOT_AVAILABLE = "Method not available on WhatsApp Business API"
_CRASHED = "TypeError: Cannot read properties of undefined (reading 'message')"
_UPLOADED = "2233445566"


def text(_: Instance, body: Json) -> Content:
    """Make a text. An empty one is not sent, and Evolution crashes on the missing answer."""
    if not body["text"]:
        raise refused(_CRASHED)
    return _flat(body["text"])


def media(shop: Instance, body: Json) -> Content:
    """Make a picture, a video, a document or an audio file."""
    check_file_name(body)
    kind, given = body["mediatype"], given_media(body.get("media"))
    name = body.get("fileName")
    match kind:
        case "document" if not name:
            name = file_name_in(given.url or "")
        case "image" | "video" if not name:
            name = {"image": "image.png", "video": "video.mp4"}[kind]
    told = {"caption": body.get("caption"), "fileName": name, "mediaType": kind}
    mimetype = type_of(given.url or name) or False
    handed = _handed(shop, given, body["media"]) | {"gifPlayback": False}
    fields = told | handed | {"mimetype": mimetype}
    message = {name: value for name, value in fields.items() if value is not None}
    return _media(f"{kind}Message", message, given, body.get("caption"))


def voice(shop: Instance, body: Json) -> Content:
    """Make an audio message."""
    given = given_voice(body.get("audio"))
    digits = "".join(filter(str.isdigit, body["number"]))
    name = f"{digits}-{int(shop.program.now() * 1000)}.mp3"
    message: Json = {"fileName": name, "mediaType": "audio"} | _handed(shop, given, body["audio"])
    message["mimetype"] = type_of(given.url or name) or False
    return _media("audioMessage", message, given)


def location(_: Instance, body: Json) -> Content:
    """Make a place on the map."""
    place = {"degreesLatitude": body["latitude"], "degreesLongitude": body["longitude"]}
    place |= {"name": body["name"], "address": body["address"]}
    return Content({"locationMessage": place}, "locationMessage", shown=body["name"])


def contact(_: Instance, body: Json) -> Content:
    """Make the card of one contact, or of several."""
    cards = contact_cards(body)
    if len(cards) == 1:
        return Content({"contact": cards[0]}, "conversation", shown=cards[0]["displayName"])
    name = f"{len(cards)} contacts"
    message = {"contactsArrayMessage": {"displayName": name, "contacts": cards}}
    return Content(message, "conversation", shown=name)


def listed(_: Instance, body: Json) -> Content:
    """Make a list to choose from; its titles are reported."""
    titles = [section["title"] for section in body["sections"]]
    if len(set(titles)) < len(titles):
        raise refused("Section tiles cannot be repeated")
    lines = [body["title"]]
    for section in body["sections"]:
        if any("description" not in row for row in section["rows"]):
            missing = "Cannot read properties of undefined (reading 'substring')"
            raise Refusal(500, missing)
        lines += [section["title"], *(row["title"] for row in section["rows"])]
    return _flat("".join(f"{line}\n" for line in lines))


def buttons(_: Instance, body: Json) -> Content:
    """Make a message with buttons; its title and the labels are reported."""
    labels = [str(button.get("displayText", "undefined")) for button in body["buttons"]]
    if len(set(labels)) < len(labels):
        raise refused("Button texts cannot be repeated")
    lines = [body.get("title") or "Select", *(f"▶️ {label}" for label in labels)]
    return _flat("".join(f"{line}\n" for line in lines))


def reaction(_: Instance, body: Json) -> Content:
    """Make a reaction."""
    message = {"reactionMessage": {"key": body["key"], "text": body["reaction"]}}
    return Content(message, "conversation")


def not_available(_: Instance, __: Json) -> Content:
    """Refuse what this channel does not have."""
    raise refused(NOT_AVAILABLE)


def no_function(_: Instance, __: Json) -> Content:
    """Fail like a call of a method that does not exist."""
    name = "this.waMonitor.waInstances[instanceName].ptvMessage"
    raise Refusal(500, f"{name} is not a function")


def _handed(shop: Instance, given: Given, media: str) -> Json:
    """Return how Meta gets the media: as a link, or as an id of an upload."""
    if given.url is not None:
        return {"media": given.url, "id": given.url, "type": "link"}
    if shop.refuses_uploads:
        raise Refusal(500, ["[object Object]"])
    return {"media": media, "id": _UPLOADED, "type": "id"}


def _flat(said: str) -> Content:
    return Content({"conversation": said}, "conversation", shown=said)


def _media(message_type: str, message: Json, given: Given, caption: str | None = None) -> Content:
    shown = caption or f"<{message_type.removesuffix('Message')}>"
    content = Content({message_type: message}, message_type, shown=shown)
    return replace(content, source=given.source)
