"""The people of one conversation: the customer, the owner, another client, an operator."""

import asyncio
import contextlib
import time

import httpx

from benchmarks.faults import watch
from benchmarks.faults.conversation import Asked, Conversation, Human, Said, Written
from benchmarks.faults.plan import Act, Step
from loopback.evolution import Delivery, Identity, PhoneMessage, contents
from loopback.evolution.contents import Content

_WAIT = 4.0  # seconds for a moment that may never come
_SHORT_WAIT = 0.6  # if a human is in charge, so that the AI need not do anything
_WEBHOOK = 1.0
_REST_TRIES = 40
_WORDS = ("tem bolo hoje", "qual o preço", "vocês abrem amanhã", "quero encomendar", "oi, tudo bem")


class People:
    """Plays a conversation's steps. `rest` is the client for the routers, `urls` are theirs."""

    def __init__(
        self,
        conversation: Conversation,
        tenant_id: int,
        rest: httpx.AsyncClient,
        urls: list[str],
        dsn: str,
    ) -> None:
        self._of = conversation
        self._tenant_id = tenant_id
        self._rest = rest
        self._urls = urls
        self._dsn = dsn
        self._identity: Identity | None = None

    async def play(self) -> None:
        """Take all steps, in order."""
        for step in self._of.plan.steps:
            if step.moment == "then":
                await asyncio.sleep(step.seconds)
                await self._do(step)
            else:
                await self._wait_and_do(step)

    async def _wait_and_do(self, step: Step) -> None:
        done = asyncio.Event()

        async def hook() -> None:
            if step.moment == "answered":
                done.set()
                return
            try:
                await self._do(step)
            finally:
                done.set()

        self._of.at(step.moment, hook)
        try:
            await asyncio.wait_for(done.wait(), _SHORT_WAIT if self._of.in_charge else _WAIT)
        except TimeoutError:
            if not self._of.forget(step.moment, hook):
                await done.wait()
            else:
                self._of.note(f"the moment `{step.moment}` does not come")
                await self._do(step)
                return
        if step.moment == "answered":
            await asyncio.sleep(step.seconds)
            await self._do(step)

    async def _do(self, step: Step) -> None:
        match step.act:
            case "says":
                await self._says(step)
            case "edits" | "deletes":
                await self._changes(step.act)
            case "owner" | "owner_copies":
                await self._owner(step.act)
            case "owner_reacts":
                self._reacts()
            case "client":
                await self._client()
            case "pauses" | "resumes":
                await self._ask(step.act)
            case "operator":
                await self._operator()
            case "erases":
                await self._erases()

    async def _says(self, step: Step) -> None:
        place = len(self._of.said) + 1
        marker = f"Q{self._of.number:05}.{place}"
        text = f"{marker} {_WORDS[place % len(_WORDS)]}?"
        content = _content(step.kind, text)
        told = marker if step.kind not in ("sticker", "voice") else None
        self._identity = step.identity
        at = time.time()
        delivery = self._of.customer.sends(content, identity=step.identity)
        self._of.said.append(Said(told, delivery.wa_id, at, delivery))
        self._of.note(f"customer: {delivery.wa_id} «{content.shown}» as {step.identity}")
        await _first_try(delivery, step)

    async def _changes(self, act: Act) -> None:
        said = next((s for s in reversed(self._of.said) if s.marker and not s.deleted_at), None)
        if said is None:
            return
        if act == "deletes":
            said.deleted_at = time.time()
            self._of.customer.deletes(said.delivery)
        elif said.edit is None:
            said.edit = f"{said.marker} melhor dizendo: outra coisa?"
            self._of.customer.edits(said.delivery, said.edit)
        self._of.note(f"customer {act} {said.wa_id}")

    async def _owner(self, act: Act) -> None:
        body = f"H{self._of.number:05}.{len(self._of.humans) + 1} deixa comigo"
        if act == "owner_copies" and self._of.refused_bodies:
            body = self._of.refused_bodies[-1]
        at = time.time()
        owner, customer = self._of.shop.owner, self._of.customer
        delivery = owner.writes(customer, body, identity=self._identity)
        self._wrote(delivery, at, "owner", body)
        await _first_try(delivery)

    async def _client(self) -> None:
        body = f"H{self._of.number:05}.{len(self._of.humans) + 1} aqui é do atendimento"
        at = time.time()
        delivery = self._of.shop.other_client_sends(self._of.customer, body)
        self._wrote(delivery, at, "client", body)
        await _first_try(delivery)

    async def _operator(self) -> None:
        """Write by REST to either router, with the same key at every try."""
        body = f"W{self._of.number:05}.{len(self._of.written) + 1} aqui é a Ana"
        written = Written(body, time.time())
        self._of.written.append(written)
        self._of.in_charge = True
        self._of.note(f"REST: operator writes «{body}»")
        for number in range(_REST_TRIES):
            answer = await self._write(body, number)
            if answer is not None and answer.status_code == 201:
                written.ended = time.time()
                self._of.note(f"REST: it is on its way, try {number + 1}")
                return
            if answer is not None and answer.status_code == 409:
                self._of.note("REST: refused, for another human wrote")
                return
            await asyncio.sleep(0.25)
        self._of.note("REST: what the operator wrote was never taken")

    async def _write(self, body: str, number: int) -> httpx.Response | None:
        try:
            session = await watch.session_of(self._dsn, self._tenant_id, self._jids())
            if session is None:
                return None
            url = self._urls[(self._of.number + number) % len(self._urls)]
            return await self._rest.post(
                f"{url}/api/sessions/{session}/messages?tenant_id={self._tenant_id}",
                json={"text": body},
                headers={"Idempotency-Key": body.split(maxsplit=1)[0]},
            )
        except (httpx.HTTPError, *watch.AWAY):
            return None

    def _jids(self) -> list[str]:
        return [jid for jid in (self._of.customer.jid, self._of.customer.lid) if jid is not None]

    async def _erases(self) -> None:
        self._of.erased = asked = Asked("erase", time.time())
        self._of.note("REST: erase")
        left, is_known = self._jids(), False  # it may not be known yet that they are one person
        for number in range(_REST_TRIES):
            url = self._urls[(self._of.number + number) % len(self._urls)]
            for jid in left.copy():
                status = await self._erase(url, jid)
                if status in (200, 404):
                    left.remove(jid)
                    is_known = is_known or status == 200
                    asked.unknown = asked.unknown or status == 404
            if not left and is_known:
                asked.ended = time.time()
                self._of.note(f"REST: the erasure is confirmed, try {number + 1}")
                return
            left = left or self._jids()
            await asyncio.sleep(0.25)
        self._of.note("REST: the erasure was never confirmed")

    async def _erase(self, url: str, jid: str) -> int | None:
        contact = jid if jid.endswith("@lid") else jid.partition("@")[0]
        path = f"{url}/api/contacts/{contact}/erase?tenant_id={self._tenant_id}"
        try:
            return (await self._rest.post(path)).status_code
        except httpx.HTTPError:
            return None

    def _wrote(self, delivery: Delivery, at: float, by: str, body: str) -> None:
        self._of.in_charge = True
        self._of.humans.append(Human(delivery.wa_id, at, by, body))
        self._of.note(f"{by} writes: {delivery.wa_id} «{body[:70]}»")

    def _reacts(self) -> None:
        if not self._of.said:
            return
        said = self._of.said[-1]
        self._of.shop.owner.reacts(self._of.customer, PhoneMessage(said.wa_id, "customer", ""))
        self._of.note("owner reacts")

    async def _ask(self, act: Act) -> None:
        contact = self._of.plan.phone
        if self._identity == "lid":
            contact = str(self._of.customer.lid)
        what = "pause" if act == "pauses" else "resume"
        asked = Asked(what, time.time())
        self._of.asked.append(asked)
        self._of.in_charge = what == "pause"
        self._of.note(f"REST: {what} {contact}")
        for number in range(_REST_TRIES):
            url = self._urls[(self._of.number + number) % len(self._urls)]
            path = f"{url}/api/contacts/{contact}/{what}?tenant_id={self._tenant_id}"
            if await self._posted(path):
                asked.ended = time.time()
                self._of.note(f"REST: {what} is confirmed, try {number + 1}")
                return
            await asyncio.sleep(0.25)
        self._of.note(f"REST: {what} was never confirmed")

    async def _posted(self, path: str) -> bool:
        try:
            answer = await self._rest.post(path)
        except httpx.HTTPError:
            return False
        if answer.status_code in (400, 401, 403, 422):
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        return answer.status_code == 200


def _content(kind: str, text: str) -> Content:
    match kind:
        case "image":
            return contents.image(text)
        case "document":
            return contents.document("pedido.pdf", text)
        case "list":
            return contents.list_reply(text, "row1")
        case "button":
            return contents.button_reply(text)
        case "sticker":
            return contents.sticker()
        case "voice":
            return contents.voice()
    return contents.text(text)


async def _first_try(delivery: Delivery, step: Step | None = None) -> None:
    """Wait a moment for the webhook's first try, if the step holds up everything else."""
    if step is not None and step.moment in ("then", "answered"):
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(delivery.first_try(), _WEBHOOK)
