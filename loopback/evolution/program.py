"""Evolution API 2.3.6 as a loopback program: its REST API, its webhooks, the phones behind it."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.evolution.answers import Refusal, error_body, refused
from loopback.evolution.business import Business
from loopback.evolution.chats import Json
from loopback.evolution.chats_api import ChatsApi
from loopback.evolution.control import control_routes
from loopback.evolution.identifiers import Channel
from loopback.evolution.instance import Call
from loopback.evolution.instances_api import InstancesApi
from loopback.evolution.messages_api import SENDS, MessagesApi
from loopback.evolution.webhooks import Wire
from loopback.faults import heard_status
from loopback.server import LoopbackServer
from loopback.waiting import Changes

GLOBAL_KEY = "loopback-global-key-0000000000000001"
_BOTS = ("evolutionBot", "typebot", "openai", "dify", "flowise", "n8n", "evoai")

Act = Callable[[Business, Json], Awaitable[Response]]


class Evolution(LoopbackServer):
    """The program. Use `with Evolution() as evolution:`, then `evolution.instance("shop")`.

    `clock` gives the time for messages, in seconds since 1970. `wire` has the timing of retries.
    `global_webhook` is an address that gets every event, in addition to the instance's webhook.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        key: str = GLOBAL_KEY,
        version: str = "2.3.6",
        clock: Callable[[], float] = time.time,
        delay_scale: float = 0.0,
    ) -> None:
        self.key = key
        self.version = version
        self.now = clock
        self.changes = Changes(self.story)
        self.wire = Wire()
        self.global_webhook: str | None = None
        self.instances: dict[str, Business] = {}
        takes_ids = tuple(map(int, version.split(".")[:2])) >= (2, 4)
        self._messages = MessagesApi(delay_scale=delay_scale, takes_ids=takes_ids)
        self._chats = ChatsApi(delay_scale=delay_scale)
        self._instances = InstancesApi(self)
        errors = {HTTPException: _not_found, Refusal: _refuse}
        routes = [*self._routes(), *control_routes(self)]
        super().__init__(Starlette(routes=routes, exception_handlers=errors), port=port)

    def instance(
        self,
        name: str = "shop",
        *,
        channel: Channel = "WHATSAPP-BAILEYS",
        token: str | None = None,
        number: str = "5511900000001",
        profile: str = "Loja",
    ) -> Business:
        """Return the instance with this name; if there is none, a new, connected one."""
        if name not in self.instances:
            self.add_instance(name, channel=channel, token=token, number=number, profile=profile)
        return self.instances[name]

    def add_instance(
        self,
        name: str,
        *,
        channel: Channel,
        token: str | None,
        number: str,
        profile: str = "Loja",
    ) -> Business:
        """Make an instance."""
        made = Business(
            self, name, channel, token=token or f"token-of-{name}", number=number, profile=profile
        )
        with self.changes.made():
            self.instances[name] = made
        return made

    def story(self) -> str:
        """Return what happened, as text."""
        return "\n".join(shop.story() for shop in self.instances.values())

    async def opened(self) -> None:
        """Start posting webhooks."""
        await self.wire.open()

    async def closed(self) -> None:
        """Stop posting. Undelivered webhooks are lost, as in the real Evolution."""
        await self.wire.close()

    def _routes(self) -> list[Route]:
        messages, chats, instances = self._messages, self._chats, self._instances
        acts: dict[str, tuple[str, Act]] = {
            **{f"/message/{name}": ("POST", messages.act(name)) for name in SENDS},
            "/chat/sendPresence": ("POST", chats.send_presence),
            "/chat/markMessageAsRead": ("POST", chats.mark_read),
            "/chat/findMessages": ("POST", chats.find_messages),
            "/chat/getBase64FromMediaMessage": ("POST", chats.media),
            "/instance/connectionState": ("GET", instances.connection_state),
            "/instance/connect": ("GET", instances.connect),
            "/instance/logout": ("DELETE", instances.logout),
            "/instance/delete": ("DELETE", instances.delete),
            "/webhook/set": ("POST", instances.set_webhook),
            "/webhook/find": ("GET", instances.find_webhook),
        }
        routes = [
            Route(f"{path}/{{instance}}", self._endpoint(path, act), methods=[method])
            for path, (method, act) in acts.items()
        ]
        for kind in _BOTS:
            act = _bots_act(instances, kind)
            routes.append(Route(f"/{kind}/find/{{instance}}", self._endpoint(f"/{kind}/find", act)))
        routes.append(Route("/instance/create", self._create, methods=["POST"]))
        routes.append(Route("/", self._welcome))
        return routes

    def _endpoint(self, path: str, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """Serve a call: planned faults, then Evolution's guards in their order, then `act`."""
        area, _, last = path[1:].partition("/")
        name = last if area in ("message", "chat", "instance") else path[1:]

        async def serve(request: Request) -> Response:
            shop = self.instances.get(request.path_params["instance"])
            if shop is None:  # checked before the key, like instanceExistsGuard
                name_asked = request.path_params["instance"]
                raise Refusal(404, [f'The "{name_asked}" instance does not exist'])
            body = await _json(request)
            call = Call(name, body, dict(request.headers))
            with self.changes.made():
                shop.calls_made.append(call)

            async def answer() -> Response:
                try:
                    self._check_key(request, shop)
                    return await act(shop, body)
                except Refusal as refusal:
                    return refusal.answer()

            response = await shop.faults.play(name, request, answer)
            with self.changes.made():
                call.status = heard_status(response)
            return response

        return serve

    async def _create(self, request: Request) -> Response:
        self._check_key(request, None)
        return await self._instances.create(await _json(request))

    async def _welcome(self, _: Request) -> Response:
        welcome: Json = {"status": 200, "message": "Welcome to the Evolution API, it is working!"}
        welcome |= {"version": self.version, "clientName": "loopback"}
        welcome |= {
            "manager": f"{self.url}/manager",
            "documentation": "https://doc.evolution-api.com",
        }
        return JSONResponse(welcome)

    def _check_key(self, request: Request, shop: Business | None) -> None:
        shown = request.headers.get("apikey")
        if shown is None or shown not in (self.key, shop and shop.token):
            raise Refusal(401, "Unauthorized")


def _bots_act(instances: InstancesApi, kind: str) -> Act:
    async def act(shop: Business, _: Json) -> Response:
        return await instances.find_bots(shop, kind)

    return act


async def _json(request: Request) -> Json:
    if not (raw := await request.body()):
        return {}
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, str(error)) from None
    if not isinstance(body, dict):
        raise refused(["instance is not of a type(s) object"])
    return body


async def _not_found(request: Request, _: Exception) -> Response:
    message = [f"Cannot {request.method.upper()} {request.url.path}"]
    return JSONResponse(error_body(404, message), status_code=404)


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return error.answer()
