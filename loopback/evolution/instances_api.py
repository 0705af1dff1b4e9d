"""The REST API's calls about an instance: its connection, its webhook, its deletion."""

import re
from typing import Protocol, get_args

from starlette.responses import JSONResponse, Response

from loopback.evolution.answers import Refusal, refused, require
from loopback.evolution.business import Business
from loopback.evolution.chats import Json
from loopback.evolution.identifiers import Channel, javascript_date, row_id
from loopback.evolution.instance import Instance
from loopback.evolution.line import Line
from loopback.evolution.traffic import ALL_EVENTS, WebhookSetting

_URL = re.compile(r"https?://\S+")
_CHANNELS: tuple[Channel, ...] = get_args(Channel)


class Registry(Protocol):
    """Creates and removes instances."""

    instances: dict[str, Business]

    def add_instance(
        self, name: str, *, channel: Channel, token: str | None, number: str
    ) -> Business:
        """Make an instance."""


class InstancesApi:
    """Answers calls about instances."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def create(self, body: Json) -> Response:
        """POST /instance/create: a new instance, without a phone."""
        require(body, {"instanceName": "string"}, optional={"token": "string"})
        name, channel = body["instanceName"], body.get("integration") or "WHATSAPP-BAILEYS"
        if name in self._registry.instances:
            raise Refusal(403, [f'This name "{name}" is already in use.'])
        if channel not in _CHANNELS:
            raise refused("Invalid integration")
        number = str(body.get("number") or "5511900000000")
        shop = self._registry.add_instance(
            name, channel=channel, token=body.get("token"), number=number
        )
        shop.is_known = False
        shop.state = "connecting" if channel == "WHATSAPP-BAILEYS" else "open"
        if "webhook" in body:
            shop.webhooks.setting = webhook_setting({"webhook": {"events": []} | body["webhook"]})
        made = {"instanceName": name, "instanceId": shop.id, "integration": channel}
        made |= {"webhookWaBusiness": None, "accessTokenWaBusiness": "", "status": shop.state}
        return JSONResponse({"instance": made, "hash": shop.token}, status_code=201)

    async def connection_state(self, shop: Instance, _: Json) -> Response:
        """GET /instance/connectionState."""
        return JSONResponse({"instance": {"instanceName": shop.name, "state": shop.state}})

    async def connect(self, shop: Instance, body: Json) -> Response:
        """GET /instance/connect: the QR code, or the state if a phone is already connected."""
        if shop.state == "open":
            return await self.connection_state(shop, body)
        if "code" not in shop.qr:
            Line(shop).shows_qr()
        return JSONResponse(shop.qr)

    async def logout(self, shop: Instance, _: Json) -> Response:
        """DELETE /instance/logout."""
        if shop.state == "close":
            raise refused(f'The "{shop.name}" instance is not connected')
        Line(shop).is_logged_out()
        return JSONResponse(_done("Instance logged out"))

    async def delete(self, shop: Instance, _: Json) -> Response:
        """DELETE /instance/delete."""
        Line(shop).is_removed()
        del self._registry.instances[shop.name]
        return JSONResponse(_done("Instance deleted"))

    async def set_webhook(self, shop: Instance, body: Json) -> Response:
        """POST /webhook/set: 201; 400 for the flat body of version 1, 500 without `events`."""
        shop.webhooks.setting = webhook_setting(body)
        return JSONResponse(_described(shop), status_code=201)

    async def find_webhook(self, shop: Instance, _: Json) -> Response:
        """GET /webhook/find: null if none was set."""
        return JSONResponse(_described(shop) if shop.webhooks.setting else None)

    async def find_bots(self, shop: Instance, kind: str) -> Response:
        """GET /{kind}/find: the instance's bots of a kind; null if there are none."""
        return JSONResponse(shop.bots.get(kind))


def webhook_setting(body: Json) -> WebhookSetting:
    """Return the setting in the body of webhook/set. Raises Refusal like Evolution."""
    require(body, {"webhook": "object"})
    given = body["webhook"]
    require(given, {"enabled": "boolean", "url": "string"}, optional={"headers": "object"})
    events = given.get("events")
    if isinstance(events, list):
        for place, event in enumerate(events):
            if event not in ALL_EVENTS:
                allowed = ",".join(ALL_EVENTS)
                raise refused([f"webhook.events[{place}] is not one of enum values: {allowed}"])
    if not _URL.fullmatch(given["url"]):
        raise refused('Invalid "url" property')
    if events is None and given["enabled"]:
        raise Refusal(500, "Cannot read properties of undefined (reading 'length')")
    return WebhookSetting(
        url=given["url"],
        enabled=given["enabled"],
        headers=given.get("headers") or {},
        by_events=bool(given.get("byEvents")),
        base64=bool(given.get("base64")),
        events=(tuple(events or ALL_EVENTS) if given["enabled"] else ()),
    )


def _described(shop: Instance) -> Json:
    setting = shop.webhooks.setting
    if setting is None:
        raise ValueError(f"{shop.name} has no webhook")
    stamp = javascript_date(shop.program.now())
    described: Json = {"id": row_id(), "url": setting.url, "headers": dict(setting.headers)}
    described |= {"enabled": setting.enabled, "events": list(setting.events)}
    described |= {"webhookByEvents": setting.by_events, "webhookBase64": setting.base64}
    return described | {"createdAt": stamp, "updatedAt": stamp, "instanceId": shop.id}


def _done(message: str) -> Json:
    return {"status": "SUCCESS", "error": False, "response": {"message": message}}
