"""The faults of calls to Evolution: planned for each conversation, or for a whole tenant."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.faults.conversation import Conversation, Delivered, Directory
from benchmarks.faults.plan import SendFate
from benchmarks.faults.terms import Terms
from loopback.evolution import Business, Delivery, failures
from loopback.evolution.answers import error_body
from loopback.evolution.chats import PhoneMessage
from loopback.evolution.sending import tell_send
from loopback.faults import Fault, FaultPlan, cut, hang, wrong_answer

Act = Callable[[], Awaitable[Response]]

_TIMED_OUT = error_body(400, ["Error: Timed Out"])
_CRASH = error_body(400, "TypeError: Cannot read properties of undefined (reading 'id')")
_REFUSALS: dict[str, Fault] = {
    "closed": failures.CONNECTION_CLOSED,
    "too_many": failures.too_many(0.3),
    "crashed": wrong_answer(400, _CRASH),
}
_BEFORE: dict[str, Fault] = {
    "cut": cut(),
    "never_answered": hang(),
    "broken": failures.BROKEN,
    "timed_out": wrong_answer(400, _TIMED_OUT),
}
_AFTER: dict[str, Fault] = {
    "taken_then_cut": cut(after=True),
    "taken_never_answered": hang(after=True),
    "taken_then_broken": failures.TAKEN_THEN_BROKEN,
    "unreadable": failures.TAKEN_THEN_UNREADABLE,
    "taken_timed_out": wrong_answer(400, _TIMED_OUT, after=True),
}
_LOOKS: dict[str, Fault] = {"broken": failures.BROKEN, "cut": cut(), "never_answered": hang()}
_MOMENT = 0.015  # seconds between a send's answer and its webhook
_FIRST_TRY = 1.0


class PlannedCalls(FaultPlan):
    """Replaces an instance's faults with planned ones. `calm` ends them.

    While `hangs`, no call is answered; while `looks_fail`, no findMessages is.
    """

    def __init__(self, shop: Business, directory: Directory, terms: Terms) -> None:
        super().__init__(shop.program.changes)
        self._shop = shop
        self._directory = directory
        self._terms = terms
        self._under_way: set[asyncio.Task[None]] = set()
        self.calm = False
        self.hangs = False
        self.looks_fail = False

    async def play(self, endpoint: str, request: Request, act: Act) -> Response:
        """Answer a call as planned."""
        if self.hangs:
            return await hang().strike(request, None)
        match endpoint:
            case "sendText" | "sendMedia":
                body = await _json(request)
                conversation = self._directory.at(self._shop.name, body.get("number"))
                if conversation is not None:
                    return await self._send(conversation, request, body, act)
            case "findMessages":
                return await self._look(request, act)
        return await act()

    async def _send(
        self, conversation: Conversation, request: Request, body: dict[str, Any], act: Act
    ) -> Response:
        arrived, text = time.time(), str(body.get("text", ""))
        fate = SendFate() if self.calm else conversation.fates.send()
        conversation.note(f"Evolution is asked to send «{text[:70]}»")
        if fate.trouble != "none":
            conversation.meets(fate.trouble)
        await conversation.reached("send")
        if (refusal := await self._refuse(conversation, fate, text)) is not None:
            return await refusal.strike(request, None)
        if fate.trouble in ("slow_socket", "beyond"):
            await asyncio.sleep(self._terms.socket_seconds(fate))
        if (fault := _BEFORE.get(fate.trouble)) is not None:
            return await fault.strike(request, None)
        response = await act()
        if response.status_code != 201:
            conversation.note(f"Evolution answers {response.status_code}")
            return response
        await self._taken(conversation, fate, response, arrived, text)
        await conversation.reached("part")
        conversation.passed("answered")
        if fate.trouble == "slow_answer":
            await asyncio.sleep(fate.share * 1.3 * self._terms.send_timeout)
        if (fault := _AFTER.get(fate.trouble)) is not None:
            return await fault.strike(request, response)
        return response

    async def _refuse(self, conversation: Conversation, fate: SendFate, text: str) -> Fault | None:
        """Return the answer to a send that certainly was not sent."""
        if fate.trouble == "slow_then_closed":
            await asyncio.sleep(fate.share * self._terms.send_timeout)
            refusal: Fault | None = failures.CONNECTION_CLOSED
        elif fate.trouble == "not_on_whatsapp":
            conversation.refused_for_good = True
            refusal = failures.not_on_whatsapp(conversation.plan.phone)
        else:
            refusal = _REFUSALS.get(fate.trouble)
        if refusal is not None:
            conversation.refused_bodies.append(text)
            conversation.passed("refused")
        return refusal

    async def _taken(
        self,
        conversation: Conversation,
        fate: SendFate,
        response: Response,
        arrived: float,
        text: str,
    ) -> None:
        data: dict[str, Any] = orjson.loads(bytes(response.body))
        wa_id = str(data["key"]["id"])
        conversation.delivers(Delivered(wa_id, text, arrived, time.time()))
        conversation.note(f"phone: {wa_id} «{text[:70]}»")
        if fate.telling == "before":
            await _tried(tell_send(self._shop, conversation.customer, data))
        elif fate.telling != "never":
            self._later(self._tell(conversation, fate, data))
        message = PhoneMessage(wa_id, "api", text)
        if fate.echo == "before":
            await _tried(self._shop.echoes(conversation.customer, message))
        elif fate.echo == "after":
            self._later(self._echo(conversation, fate, message))

    async def _tell(self, conversation: Conversation, fate: SendFate, data: dict[str, Any]) -> None:
        await asyncio.sleep(fate.share * 5 if fate.telling == "late" else _MOMENT)
        tell_send(self._shop, conversation.customer, data)
        if fate.telling == "twice":
            await asyncio.sleep(fate.share)
            tell_send(self._shop, conversation.customer, data)

    async def _echo(
        self, conversation: Conversation, fate: SendFate, message: PhoneMessage
    ) -> None:
        await asyncio.sleep(fate.share)
        self._shop.echoes(conversation.customer, message)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look(self, request: Request, act: Act) -> Response:
        where = (await _json(request)).get("where") or {}
        jid = (where.get("key") or {}).get("remoteJid")
        conversation = self._directory.at(self._shop.name, jid)
        if self.looks_fail:
            return await failures.UNAVAILABLE.strike(request, None)
        if conversation is None or self.calm:
            return await act()
        trouble, share = conversation.fates.look()
        conversation.note("Evolution is asked what it has stored")
        await conversation.reached("looked")
        if trouble != "none":
            conversation.meets(f"findMessages {trouble}")
        if (fault := _LOOKS.get(trouble)) is not None:
            return await fault.strike(request, None)
        if trouble == "slow":
            await asyncio.sleep(share * self._terms.send_timeout)
        return await act()


async def _tried(delivery: Delivery) -> None:
    """Wait a moment until the first try of a webhook has ended."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(delivery.first_try(), _FIRST_TRY)


async def _json(request: Request) -> dict[str, Any]:
    body = orjson.loads(await request.body() or b"{}")
    return body if isinstance(body, dict) else {}
