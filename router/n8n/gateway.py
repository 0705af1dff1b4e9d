"""The fenced gateway: Evolution's own paths and bodies, for a flow with its turn's token.

A workflow replies as to Evolution, only to another base URL. What it asks for passes the fence, is
recorded and sent with the tenant's key, which n8n never sees. The same request again gets the first
answer again. What the fence refuses is a 409 in Evolution's error shape, with the reason.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from router.errors import DatabaseAway, NotFound
from router.evolution.client import EvolutionClient, Instance, SentMessage
from router.evolution.errors import EvolutionAway, EvolutionError, NotOnWhatsApp, SendInDoubt
from router.logs import Action, bind_correlation, log_event
from router.n8n.refusals import Refused, conflict
from router.n8n.texts import texts_of
from router.n8n.tokens import TurnToken, read_notice_token, read_token
from router.notices.routes import send_notice
from router.safety.guard import ReplyGuard, ReplyRefused, Speaker
from router.safety.rules import ReplyRules
from router.settings import Settings
from router.state.database import Database, Json
from router.tenant_instance import InstanceKeys
from router.turns.outgoing import parts_of
from router.webhook.clean import clean
from router.webhook.jids import normalise_jid

router = APIRouter(
    prefix="/n8n/evolution",
    tags=["n8n"],
    responses={
        201: {"description": "It was sent; as Evolution answers"},
        400: {"description": "What Evolution would refuse, or refused"},
        401: {"description": "The header apikey is not a turn's or a notice's token"},
        403: {"description": "Another contact or instance than the token's"},
        404: {"description": "A path that the gateway has not"},
        409: {"description": "Not any more: `response.reason` says why"},
        413: {"description": "The body is too large"},
        422: {"description": "A value cannot be right"},
        503: {"description": "The database or Evolution is away"},
    },
)
_log = logging.getLogger(__name__)
_CHECK_AFTER = 3.0  # seconds until a send in doubt is first looked up

# What is sent under which path: the field that stands for it in the conversation's history.
_SENDS: Mapping[str, tuple[str, str]] = {
    "message/sendText": ("text", "text"),
    "message/sendMedia": ("media", "caption"),
    "message/sendWhatsAppAudio": ("audio", "audio"),
    "message/sendReaction": ("reaction", "reaction"),
    "message/sendList": ("list", "title"),
    "message/sendButtons": ("buttons", "title"),
}


@router.post("/{group}/{method}/{instance}", summary="Evolution's API, behind the fence")
async def call_evolution(
    request: Request, group: str, method: str, instance: str, body: dict[str, Any]
) -> JSONResponse:
    """Send for a turn or a notice. 201 as Evolution; 409: the fence refuses; 404 elsewhere."""
    path = f"{group}/{method}"
    try:
        if (notice := read_notice_token(request.headers.get("apikey", ""))) is not None:
            sender = request.app.state.notice_sender
            return await send_notice(sender, notice, path, instance, body)
        desk = await _Desk.open(request, instance)
        contact = request.app.state.contact_hashes.in_log(desk.turn["jids"])
        correlation_id = desk.turn["correlation_id"] or f"turn-{desk.token.turn_id}"
        with bind_correlation(correlation_id, contact):
            return await desk.carry_out(path, body)
    except Refused as refused:
        return refused.answer()


class _Desk:
    """One request of a flow, with what it may act on."""

    def __init__(self, request: Request, token: TurnToken, turn: Json) -> None:
        state = request.app.state
        self._database: Database = state.database
        self._evolution: EvolutionClient = state.evolution
        self._settings: Settings = state.settings
        self._guard: ReplyGuard = state.guard
        self._wake: Callable[[], None] = state.wake
        self.token = token
        self.turn = turn

    @classmethod
    async def open(cls, request: Request, instance: str) -> "_Desk":
        """Find the turn by the token that the request shows. Raises Refused."""
        token = read_token(request.headers.get("apikey", ""))
        if token is None:
            raise Refused(
                401, "Unauthorized", "the header apikey must be the turn's token", "token"
            )
        try:
            turn = await request.app.state.database.call("look_at_turn", token.held)
        except NotFound as error:
            raise Refused(401, "Unauthorized", "no turn has this token", "token") from error
        except DatabaseAway as error:
            raise Refused(503, "Service Unavailable", str(error), "database_away") from error
        if "refused" in turn:
            raise conflict(turn["refused"])
        if turn["instance_name"] != instance:
            raise Refused(
                403,
                "Forbidden",
                f"this turn is of the instance {turn['instance_name']}",
                "instance",
            )
        return cls(request, token, turn)

    async def carry_out(self, path: str, body: Json) -> JSONResponse:
        """Do what the path says. Raises Refused."""
        if path == "chat/sendPresence":
            return await self._show_presence(body)
        if path not in _SENDS:
            raise Refused(404, "Not Found", f"{path} is not to be had through the gateway", "path")
        self._require_contact(body)
        kind, field = _SENDS[path]
        if kind != "text":
            shown = clean(f"[{kind}: {str(body.get(field) or '')[:500] or kind}]")
            await self._check(texts_of(body), (shown,))
            return self._answer(await self._send(path, kind, shown, body))
        parts = parts_of(str(body.get("text") or ""))
        if not parts:
            raise Refused(400, "Bad Request", 'instance requires property "text"', "text")
        await self._check("\n\n".join(parts), parts)
        for part in parts:
            sent = await self._send(path, kind, part, {"text": part})
        return self._answer(sent)

    async def _check(self, text: str, parts: tuple[str, ...]) -> None:
        """Have the guard look at what is to be sent, unless it is the same request again."""
        said: list[str] = self.turn["said"]
        if all(part in said for part in parts):
            return
        speaker = Speaker(
            held=self.token.held,
            tenant_id=self.turn["tenant_id"],
            instance_name=self.turn["instance_name"],
            session_id=self.turn["session_id"],
            system_prompt=self.turn["system_prompt"],
            rules=ReplyRules.model_validate(self.turn["reply_rules"]),
        )
        try:
            await self._guard.check(speaker, text, said="\n\n".join(said))
        except ReplyRefused as refused:
            self._wake()  # the turn may have a fallback message to be sent
            raise conflict(refused.reason) from refused

    async def _show_presence(self, body: Json) -> JSONResponse:
        delay = min(int(body.get("delay") or 1000), 10_000)
        presence = str(body.get("presence") or "composing")
        try:
            await self._evolution.send_presence(
                self._instance(), self.turn["jid"], presence=presence, delay_ms=delay
            )
        except EvolutionError as error:
            raise Refused(400, "Bad Request", str(error), "evolution") from error
        return JSONResponse({"presence": presence}, status_code=201)

    async def _send(self, path: str, kind: str, shown: str, body: Json) -> Json:
        """Fence, send, record. Returns {wa_id, jid, body} of the message that is on the phone."""
        fence = await self._database.call(
            "begin_flow_send",
            {
                **self.token.held,
                "kind": kind,
                "body": shown,
                "lease_seconds": self._settings.send_timeout + 15,
            },
        )
        if fence.get("refused") == "already_sent":
            return {"wa_id": fence["wa_id"], "jid": self.turn["jid"], "body": fence["body"]}
        if "refused" in fence:
            raise conflict(fence["refused"])
        request = {**body, "number": fence["jid"]}
        request.pop("delay", None)  # the fence stands right before the send: nothing waits between
        try:
            sent = await self._evolution.send(self._instance(), path, request)
        except EvolutionError as error:
            raise await self._failed(fence["message_id"], error) from error
        await self._record(fence["message_id"], sent)
        return {"wa_id": sent.wa_id, "jid": sent.remote_jid, "body": shown}

    async def _record(self, message_id: int, sent: SentMessage) -> None:
        await self._database.call(
            "finish_send",
            {
                **self.token.held,
                "tenant_id": self.turn["tenant_id"],
                "message_id": message_id,
                "wa_id": sent.wa_id,
                "jid": normalise_jid(sent.remote_jid),
                "status": (sent.status or "pending").lower(),
            },
        )

    async def _failed(self, message_id: int, error: EvolutionError) -> Refused:
        about = {**self.token.held, "message_id": message_id}
        if isinstance(error, SendInDoubt):
            log_event(_log, Action.SEND_IN_DOUBT, str(error), level=logging.WARNING, **self._who)
            await self._database.call(
                "doubt_send", {**about, "error": str(error), "check_after": _CHECK_AFTER}
            )
            return conflict("in_doubt")
        log_event(
            _log, Action.EVOLUTION_SEND_FAILED, str(error), level=logging.WARNING, **self._who
        )
        await self._database.call("fail_send", about)
        if isinstance(error, EvolutionAway):
            return Refused(503, "Service Unavailable", str(error), "evolution_away")
        nobody = isinstance(error, NotOnWhatsApp)
        reason = "not_on_whatsapp" if nobody else "evolution_refused"
        return Refused(400, "Bad Request", str(error), reason)

    @property
    def _who(self) -> Json:
        return {"turn_id": self.token.turn_id, "tenant_id": self.turn["tenant_id"]}

    def _require_contact(self, body: Json) -> None:
        number = normalise_jid(str(body.get("number") or self.turn["jid"]))
        if number not in self.turn["jids"]:
            raise Refused(403, "Forbidden", "a turn answers its own contact, no other", "number")

    def _instance(self) -> Instance:
        try:
            return InstanceKeys.of(self._settings).instance(self.turn)
        except EvolutionError as error:
            raise Refused(401, "Unauthorized", str(error), "key") from error

    def _answer(self, sent: Json) -> JSONResponse:
        key = {"remoteJid": sent["jid"], "fromMe": True, "id": sent["wa_id"]}
        return JSONResponse(
            {
                "key": key,
                "status": "PENDING",
                "message": {"conversation": sent["body"]},
                "messageType": "conversation",
            },
            status_code=201,
        )
