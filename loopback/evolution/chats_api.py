"""The REST API's calls about chats: presence, read marks, stored messages, media."""

import asyncio

from starlette.responses import JSONResponse, Response

from loopback.evolution.answers import refused, require, require_one_of
from loopback.evolution.chats import Json
from loopback.evolution.contents import ONE_PIXEL
from loopback.evolution.instance import Instance

_PRESENCES = ("unavailable", "available", "composing", "recording", "paused")
_NOT_AVAILABLE = {
    "EVOLUTION": "Method not available on Evolution Channel",
    "WHATSAPP-BUSINESS": "Method not available on WhatsApp Business API",
}


class ChatsApi:
    """Answers calls about chats. `delay_scale`: how much of a call's `delay` is waited for."""

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
        """POST /chat/getBase64FromMediaMessage: a picture of one pixel, whatever it was.

        On WHATSAPP-BUSINESS nothing is looked up: what was sent along is handed back.
        """
        if shop.channel == "WHATSAPP-BUSINESS":
            return _handed_back(body.get("message", {}))
        stored = shop.store.get(str(body.get("message", {}).get("key", {}).get("id")))
        if stored is None:
            raise refused("Message not found")
        kind, content = next(iter((stored.data["message"] or {"": None}).items()))
        if not isinstance(content, dict) or "mimetype" not in content:
            raise refused("The message is not of the media type")
        size = {"fileLength": content.get("fileLength"), "height": None, "width": None}
        answer = {"mediaType": kind, "fileName": content.get("fileName") or f"{stored.wa_id}.bin"}
        answer |= {"size": size, "caption": content.get("caption"), "buffer": None}
        answer |= {"mimetype": content["mimetype"], "base64": ONE_PIXEL}
        return JSONResponse(answer, status_code=201)


def _handed_back(record: Json) -> Response:
    kind = record.get("messageType")
    if kind is None:
        raise refused("TypeError: Cannot read properties of undefined (reading 'includes')")
    content = record.get("message", {}).get(kind, {})
    answer = {"mediaType": kind, "caption": content.get("caption"), "size": {}}
    answer |= {"mimetype": content.get("mime_type"), "base64": record["message"].get("base64")}
    return JSONResponse(answer, status_code=201)


def _check_key(key: Json) -> None:
    if set(key) - {"fromMe", "remoteJid", "id"}:  # the schema looks only at keys of these
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
