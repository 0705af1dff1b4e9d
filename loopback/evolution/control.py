"""Controls a loopback Evolution in a process of its own: JSON over HTTP, under /_control.

    POST   /_control/instances/{instance}                    {channel?, token?, number?, profile?}
    POST   /_control/instances/{instance}/customers/{number} {does, text?, name?, lid?, wa_id?}
    POST   /_control/instances/{instance}/owner/{number}     {does, text?, device?}
    GET    /_control/instances/{instance}/customers/{number} the transcript
    GET    /_control/instances/{instance}/calls/{endpoint}   the calls so far
    POST   /_control/instances/{instance}/faults/{endpoint}  {fault, times?}, see failures.BY_NAME
    POST   /_control/instances/{instance}/socket             {seconds, times?}: sends take that long
    DELETE /_control/instances/{instance}/faults             removes all faults and slow sends

`does` is writes, repeats (with the `wa_id` of the repeated message), calls or types for a customer,
and writes for the owner. The answer to `writes` comes when the webhook is settled: {wa_id, state,
attempts}. Only this machine can call, so no key is needed.
"""

from dataclasses import asdict
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.evolution import failures
from loopback.evolution.business import Business
from loopback.evolution.identifiers import Channel
from loopback.evolution.people import Customer
from loopback.evolution.webhooks import Delivery

_AT = "/_control/instances/{instance}"


class Controlled(Protocol):
    """The program that is controlled."""

    def instance(
        self,
        name: str,
        *,
        channel: Channel = "WHATSAPP-BAILEYS",
        token: str | None = None,
        number: str = "",
        profile: str = "",
    ) -> Business:
        """Return an instance; a new one, if there is none of this name."""


def control_routes(program: Controlled) -> list[Route]:
    """Return the routes of the control."""
    control = _Control(program)
    return [
        Route(_AT, control.make, methods=["POST"]),
        Route(f"{_AT}/customers/{{number}}", control.customer, methods=["POST"]),
        Route(f"{_AT}/customers/{{number}}", control.transcript),
        Route(f"{_AT}/owner/{{number}}", control.owner, methods=["POST"]),
        Route(f"{_AT}/calls/{{endpoint}}", control.calls),
        Route(f"{_AT}/faults/{{endpoint}}", control.fail, methods=["POST"]),
        Route(f"{_AT}/socket", control.slow_socket, methods=["POST"]),
        Route(f"{_AT}/faults", control.heal, methods=["DELETE"]),
    ]


class _Control:
    def __init__(self, program: Controlled) -> None:
        self._program = program

    async def make(self, request: Request) -> Response:
        shop = self._program.instance(request.path_params["instance"], **await _given(request))
        return JSONResponse({"name": shop.name, "token": shop.token, "channel": shop.channel})

    async def customer(self, request: Request) -> Response:
        given = await _given(request)
        does, said = given.pop("does", "writes"), given.pop("text", "")
        wa_id = given.pop("wa_id", None)
        person = self._customer(request, **given)
        match does:
            case "writes":
                return await _settled(person.writes(said))
            case "repeats" if wa_id is not None and person.has(wa_id):
                return await _settled(person.writes(said, wa_id=wa_id))
            case "calls":
                return await _settled(person.calls(auto_reply=said or None))
            case "types":
                return await _settled(person.types())
        return _unknown(does)

    async def owner(self, request: Request) -> Response:
        given = await _given(request)
        does, said = given.pop("does", "writes"), given.pop("text", "")
        if does != "writes":
            return _unknown(does)
        owner, person = self._shop(request).owner, self._customer(request)
        return await _settled(owner.writes(person, said, device=given.get("device", "android")))

    async def transcript(self, request: Request) -> Response:
        return JSONResponse([asdict(message) for message in self._customer(request).transcript])

    async def calls(self, request: Request) -> Response:
        calls = self._shop(request).calls(request.path_params["endpoint"])
        return JSONResponse([{"body": call.body, "status": call.status} for call in calls])

    async def fail(self, request: Request) -> Response:
        given = await _given(request)
        fault = failures.BY_NAME.get(given.get("fault", ""))
        if fault is None:
            return _unknown(given.get("fault"))
        endpoint = request.path_params["endpoint"]
        self._shop(request).fail(endpoint, fault, times=given.get("times", 1))
        return JSONResponse({"endpoint": endpoint, "fault": given["fault"]})

    async def slow_socket(self, request: Request) -> Response:
        given = await _given(request)
        seconds = float(given.get("seconds", 0))
        self._shop(request).slow_socket(seconds, times=given.get("times"))
        return JSONResponse({"seconds": seconds})

    async def heal(self, request: Request) -> Response:
        self._shop(request).heal()
        return Response(status_code=204)

    def _shop(self, request: Request) -> Business:
        return self._program.instance(request.path_params["instance"])

    def _customer(self, request: Request, **about: Any) -> Customer:
        return self._shop(request).customer(request.path_params["number"], **about)


async def _given(request: Request) -> dict[str, Any]:
    raw = await request.body()
    given = orjson.loads(raw) if raw else {}
    return given if isinstance(given, dict) else {}


async def _settled(delivery: Delivery) -> Response:
    await delivery
    attempts = [asdict(attempt) for attempt in delivery.attempts]
    return JSONResponse({"wa_id": delivery.wa_id, "state": delivery.state, "attempts": attempts})


def _unknown(what: object) -> Response:
    return JSONResponse({"error": f"unknown: {what}"}, status_code=400)
