"""The REST API's calls about chats: presence, read marks, stored messages, media."""

import asyncio
import mimetypes
from base64 import b64decode, b64encode

from starlette.responses import JSONResponse, Response

from loopback.evolution.answers import refused, require, require_one_of
from loopback.evolution.chats import Json
from loopback.evolution.contents import ONE_PIXEL
from loopback.evolution.instance import Instance

_UNREADABLE = "TypeError: Cannot read properties of undefined"
_TWO_TRIES = 5.0
_ENDINGS = {
    "audio/ogg": ".oga",
    "audio/mpeg": ".mpga",
    "image/jpeg": ".jpeg",
    "image/webp": ".webp",
}
# Not viewOnceMessageV2Extension, which contains a view-once voice note.
_WRAPPERS = (
    "ephemeralMessage",
    "documentWithCaptionMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
)
_PRESENCES = ("unavailable", "available", "composing", "recording", "paused")
_NOT_AVAILABLE = {
    "EVOLUTION": "Method not available on Evolution Channel",
    "WHATSAPP-BUSINESS": "Method not available on WhatsApp Business API",
}


class ChatsApi:
    """Answers calls about chats. `delay_scale`: the part of a call's `delay` that it waits."""

    def __init__(self, *, delay_scale: float = 0.0) -> None:
        self.delay_scale = delay_scale

    async def send_presence(self, shop: Instance, body: Json) -> Response:
        """POST /chat/sendPresence: shows typing for `delay` ms. Baileys only."""
        require(body, {"number": "string", "presence": "string", "delay": "number"})
        require_one_of(body, "presence", _PRESENCES)
        _only_baileys(shop)
        await asyncio.sleep(float(body["delay"]) / 1000 * self.delay_scale)
        return JSONResponse({"presence": body["presence"]}, status_code=201)

    async def mark_read(self, shop: Instance, body: Json) -> Response:
        """POST /chat/markMessageAsRead. A key with a LID is silently skipped. Baileys only."""
        require(body, {"readMessages": "array"})
        for key in body["readMessages"]:
            require(key, {"id": "string", "fromMe": "boolean", "remoteJid": "string"})
        _only_baileys(shop)
        with shop.program.changes.made():
            shop.read.extend(
                key["id"]
                for key in body["readMessages"]
                if key["remoteJid"].endswith(("@s.whatsapp.net", "@g.us"))
            )
        return JSONResponse({"message": "Read messages", "read": "success"}, status_code=201)

    async def find_messages(self, shop: Instance, body: Json) -> Response:
        """POST /chat/findMessages."""
        _check_key((body.get("where") or {}).get("key") or {})
        with shop.program.changes.lock:
            return JSONResponse(shop.store.find(body))

    async def media(self, shop: Instance, body: Json) -> Response:
        """POST /chat/getBase64FromMediaMessage: a picture of one pixel, unless a test set another.

        Only the id of the key counts. WHATSAPP-BUSINESS looks nothing up, and returns what the call
        contains. Media that WhatsApp no longer has is refused after two tries, 5 s.
        """
        message = body.get("message")
        if not isinstance(message, dict):
            raise refused(f"{_UNREADABLE} (reading 'key')")
        if shop.channel == "WHATSAPP-BUSINESS":
            return _handed_back(message)
        if not isinstance(key := message.get("key"), dict):
            raise refused(f"{_UNREADABLE} (reading 'ephemeralMessage')")
        stored = shop.store.get(str(key.get("id")))
        if stored is None:
            raise refused("Message not found")
        kind, content = _unwrapped(stored.data["message"])
        if not isinstance(content, dict) or "mimetype" not in content:
            raise refused("The message is not of the media type")
        raw = shop.received.get(stored.wa_id, b64decode(ONE_PIXEL))
        if raw is None:
            await asyncio.sleep(_TWO_TRIES * self.delay_scale)
            path = content.get("directPath", "/v/0000000000000000.enc")
            raise refused(f"Error: Failed to fetch stream from https://mmg.whatsapp.net{path}")
        mimetype = str(content["mimetype"])
        name = content.get("fileName") or f"{stored.wa_id}{_ending(mimetype)}"
        if body.get("convertToMp4") and kind == "audioMessage":
            mimetype = "audio/mp4"
        size = {
            each: content[each] for each in ("fileLength", "height", "width") if each in content
        }
        answer = {"mediaType": kind, "fileName": name, "size": size, "mimetype": mimetype}
        answer |= {"caption": content["caption"]} if content.get("caption") else {}
        answer |= {"base64": b64encode(raw).decode(), "buffer": None}
        return JSONResponse(answer, status_code=201)


def _unwrapped(message: Json | None) -> tuple[str, object]:
    """Return the kind and the content of a message, without a wrapper."""
    kind, content = next(iter((message or {"": None}).items()))
    while kind in _WRAPPERS and isinstance(content, dict) and content.get("message"):
        kind, content = next(iter(content["message"].items()))
    return kind, content


def _ending(mimetype: str) -> str:
    plain = mimetype.partition(";")[0]
    return _ENDINGS.get(plain) or mimetypes.guess_extension(plain) or ".bin"


def _handed_back(record: Json) -> Response:
    kind = record.get("messageType")
    if kind is None:
        raise refused("TypeError: Cannot read properties of undefined (reading 'includes')")
    content = record.get("message", {}).get(kind, {})
    answer = {"mediaType": kind, "caption": content.get("caption"), "size": {}}
    answer |= {"mimetype": content.get("mime_type"), "base64": record["message"].get("base64")}
    return JSONResponse(answer, status_code=201)


def _check_key(key: Json) -> None:
    if set(key) - {"fromMe", "remoteJid", "id"}:  # the schema checks only keys with these
        return
    if any(name in key and not _is_filled(key[name]) for name in ("remoteJid", "id")):
        raise refused(["The property cannot be empty"])
    if "fromMe" in key and not isinstance(key["fromMe"], bool):
        what = "where.key.fromMe is not"
        raise refused([f"{what} of a type(s) boolean", f"{what} one of enum values: true,false"])


def _is_filled(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _only_baileys(shop: Instance) -> None:
    if reason := _NOT_AVAILABLE.get(shop.channel):
        raise refused(reason)
