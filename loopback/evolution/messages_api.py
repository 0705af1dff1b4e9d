"""The REST API's sends: POST /message/... and what they answer."""

import asyncio

from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from loopback.evolution import contents
from loopback.evolution.answers import refused, require, require_one_of
from loopback.evolution.chats import Chat, Json
from loopback.evolution.contents import Content
from loopback.evolution.identifiers import addressed
from loopback.evolution.instance import Instance
from loopback.evolution.sending import take, tell_send
from loopback.evolution.webhooks import Delivery

_SEND = {"number": "string"}
_OPTIONS = {"delay": "integer", "linkPreview": "boolean", "quoted": "object"}


class MessagesApi:
    """Answers sends. `delay_scale`: how much of a call's `delay` is really waited for."""

    def __init__(self, *, delay_scale: float = 0.0, takes_ids: bool = False) -> None:
        self.delay_scale = delay_scale
        self._takes_ids = takes_ids

    async def send_text(self, shop: Instance, body: Json) -> Response:
        """POST /message/sendText: 201 with the message, PENDING."""
        require(body, _SEND | {"text": "string"}, optional=_OPTIONS)
        if not body["text"].strip():
            raise refused("Text is required")
        content = contents.text(body["text"])
        quoted = (body.get("quoted") or {}).get("key", {}).get("id")
        stored = shop.store.get(quoted) if quoted else None
        if stored is not None:
            said = stored.data["message"].get("conversation", "")
            content = contents.quoting(body["text"], quoted, said, shop.chat_at(body["number"]).jid)
        return await self._send(shop, body, content)

    async def send_media(self, shop: Instance, body: Json) -> Response:
        """POST /message/sendMedia."""
        require(body, _SEND | {"mediatype": "string"}, optional=_OPTIONS | {"caption": "string"})
        require_one_of(body, "mediatype", ("image", "document", "video", "audio"))
        if not body.get("media"):
            raise refused("Owned media must be a url or base64")
        caption, name = body.get("caption"), body.get("fileName") or "file.pdf"
        match body["mediatype"]:
            case "image":
                content = contents.image(caption)
            case "video":
                content = contents.video(caption)
            case "document":
                content = contents.document(name, caption)
            case _:
                content = contents.audio()
        return await self._send(shop, body, content)

    async def send_audio(self, shop: Instance, body: Json) -> Response:
        """POST /message/sendWhatsAppAudio: a voice message."""
        require(body, _SEND, optional=_OPTIONS)
        if not body.get("audio"):
            raise refused("Owned media must be a url, base64, or valid file with buffer")
        return await self._send(shop, body, contents.voice())

    async def send_reaction(self, shop: Instance, body: Json) -> Response:
        """POST /message/sendReaction."""
        require(body, {"key": "object", "reaction": "string"})
        key = body["key"]
        require(key, {"id": "string", "remoteJid": "string", "fromMe": "boolean"})
        content = contents.reaction_sent(body["reaction"], key, shop.program.now())
        return await self._send(shop, {"number": key["remoteJid"]}, content)

    async def _send(self, shop: Instance, body: Json, content: Content) -> Response:
        number = str(body["number"])
        if shop.channel == "WHATSAPP-BAILEYS":
            if shop.state != "open":
                raise refused("Error: Connection Closed")
            if number in shop.absent:
                raise refused({"jid": addressed(number), "exists": False, "number": number})
        await asyncio.sleep(float(body.get("delay") or 0) / 1000 * self.delay_scale)
        wa_id = body.get("messageId") if self._takes_ids else None
        chat, data = take(shop, number, content, wa_id=wa_id)
        answer = JSONResponse(data, status_code=201)
        match shop.tells_sends:
            case "before":
                await _first_try(tell_send(shop, chat, data))
            case "after":
                answer.background = BackgroundTask(_tell, shop, chat, data)
        return answer


async def _tell(shop: Instance, chat: Chat, data: Json) -> None:
    tell_send(shop, chat, data)


async def _first_try(delivery: Delivery) -> None:
    if delivery.state != "held":
        await delivery.first_try()
