"""The REST API's sends: POST /message/... and their answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from loopback.evolution import baileys_sends, bodies, channel_sends, cloud_sends
from loopback.evolution.answers import refused
from loopback.evolution.bodies import Check
from loopback.evolution.chats import Chat, Json
from loopback.evolution.contents import Content
from loopback.evolution.identifiers import Channel, addressed
from loopback.evolution.instance import Instance
from loopback.evolution.sending import Outgoing, context_of, take, tell_send
from loopback.evolution.socket import CLOSED
from loopback.evolution.webhooks import Delivery

Maker = Callable[[Instance, Json], Content]
Act = Callable[[Instance, Json], Awaitable[Response]]


def _number(body: Json) -> str:
    return str(body["number"])


def _number_in_key(body: Json) -> str:
    return str(body["key"]["remoteJid"])


@dataclass(frozen=True, slots=True)
class _Send:
    """One route: how its body is checked, and what makes its message on each channel.

    `takes_id`: whether Evolution 2.4 accepts a `messageId` (Baileys only). `drops`: the options
    that Baileys does not get.
    """

    check: Check
    baileys: Maker
    cloud: Maker = cloud_sends.not_available
    channel: Maker = channel_sends.not_available
    takes_id: bool = False
    drops: tuple[str, ...] = ()
    number_of: Callable[[Json], str] = _number

    def makers(self) -> Mapping[Channel, Maker]:
        """Return the functions that make the message, by channel."""
        return {
            "WHATSAPP-BAILEYS": self.baileys,
            "WHATSAPP-BUSINESS": self.cloud,
            "EVOLUTION": self.channel,
        }


_ALL = ("delay", "quoted", "mentioned", "mentionsEveryOne")
SENDS: Mapping[str, _Send] = {
    "sendText": _Send(
        bodies.check_text, baileys_sends.text, cloud_sends.text, channel_sends.text, takes_id=True
    ),
    "sendMedia": _Send(
        bodies.check_media,
        baileys_sends.media,
        cloud_sends.media,
        channel_sends.media,
        takes_id=True,
    ),
    "sendWhatsAppAudio": _Send(
        bodies.check_audio,
        baileys_sends.voice,
        cloud_sends.voice,
        channel_sends.voice,
        drops=_ALL[1:],
    ),
    "sendPtv": _Send(
        bodies.check_video_note,
        baileys_sends.video_note,
        cloud_sends.no_function,
        takes_id=True,
    ),
    "sendSticker": _Send(bodies.check_sticker, baileys_sends.sticker, takes_id=True),
    "sendLocation": _Send(bodies.check_location, baileys_sends.location, cloud_sends.location),
    "sendContact": _Send(
        bodies.check_contact, baileys_sends.contact, cloud_sends.contact, drops=_ALL
    ),
    "sendPoll": _Send(bodies.check_poll, baileys_sends.poll, takes_id=True),
    "sendList": _Send(bodies.check_list, baileys_sends.listed, cloud_sends.listed),
    "sendButtons": _Send(
        bodies.check_buttons,
        baileys_sends.buttons,
        cloud_sends.buttons,
        channel_sends.buttons,
    ),
    "sendReaction": _Send(
        bodies.check_reaction,
        baileys_sends.reaction,
        cloud_sends.reaction,
        drops=_ALL,
        number_of=_number_in_key,
    ),
}
"""All sends, by the last word of their paths."""


class MessagesApi:
    """Answers sends. `delay_scale`: the part of a call's `delay` that is really waited."""

    def __init__(self, *, delay_scale: float = 0.0, takes_ids: bool = False) -> None:
        self.delay_scale = delay_scale
        self._takes_ids = takes_ids

    def act(self, name: str) -> Act:
        """Return the function that answers POST /message/`name`."""

        async def act(shop: Instance, body: Json) -> Response:
            return await self._send(SENDS[name], shop, body)

        return act

    async def _send(self, send: _Send, shop: Instance, body: Json) -> Response:
        send.check(body)
        content = send.makers()[shop.channel](shop, body)
        return await self._pass_on(send, shop, send.number_of(body), body, content)

    async def _pass_on(
        self, send: _Send, shop: Instance, number: str, body: Json, content: Content
    ) -> Response:
        baileys = shop.channel == "WHATSAPP-BAILEYS"
        options = {
            name: value for name, value in body.items() if not (baileys and name in send.drops)
        }
        if baileys:
            _check_line(shop, number)
        if shop.channel != "WHATSAPP-BUSINESS":
            await asyncio.sleep(float(options.get("delay") or 0) / 1000 * self.delay_scale)
        context = context_of(shop, number, options)
        await shop.socket.carry(body)
        if baileys and shop.state != "open":
            raise refused(CLOSED)
        takes_id = self._takes_ids and send.takes_id and baileys
        wa_id = body.get("messageId") if takes_id else None
        chat, data = take(shop, Outgoing(number, content, context, wa_id or None))
        answer = JSONResponse(data, status_code=201)
        match shop.tells_sends:
            case "before":
                await _first_try(tell_send(shop, chat, data))
            case "after":
                answer.background = BackgroundTask(_tell, shop, chat, data)
        return answer


def _check_line(shop: Instance, number: str) -> None:
    if shop.state != "open":
        raise refused(CLOSED)
    if number in shop.absent or number.partition("@")[0] in shop.absent:
        raise refused({"jid": addressed(number), "exists": False, "number": number})


async def _tell(shop: Instance, chat: Chat, data: Json) -> None:
    tell_send(shop, chat, data)


async def _first_try(delivery: Delivery) -> None:
    if delivery.state != "held":
        await delivery.first_try()
