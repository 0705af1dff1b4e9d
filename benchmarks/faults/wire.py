"""Carries Evolution's webhooks to the two routers: late, twice, or out of order."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from benchmarks.faults.conversation import Conversation, Directory
from loopback.evolution import Attempt, Delivery
from loopback.evolution.webhooks import Route, Wire
from loopback.waiting import Changes

_PEOPLE = ("messages.upsert", "messages.edited", "messages.delete")
_LATE = {"late": 1.5, "very_late": 6.0}
_AGAIN = 3.0
_PATIENCE = 10.0  # seconds to wait for an answer: a stopped router gives none


class PlannedWire(Wire):
    """Posts each webhook to either router, as planned for its conversation, until `calm`.

    A delivery's address is only a path. A router's address is put before it, and each further try
    uses the other router, like a load balancer in front of both.
    """

    def __init__(
        self,
        directory: Directory,
        routers: Sequence[str],
        changes: Changes,
        *,
        retry_seconds: float,
    ) -> None:
        super().__init__(retry_seconds=retry_seconds)
        self._directory = directory
        self._routers = routers
        self._changes = changes
        self._next = 0
        self._first: dict[int, int] = {}
        self.calm = False
        self.under_way = 0
        self.troubles: Counter[str] = Counter()
        self.given_up: list[Delivery] = []

    async def deliver(self, delivery: Delivery, route: Route) -> None:
        """Post a delivery until it is settled."""
        self.under_way += 1
        try:
            conversation = self._conversation(delivery)
            if conversation is None or self.calm:
                self._next += 1
                await self._to(self._next % len(self._routers), delivery, route, conversation)
            else:
                await self._as_planned(delivery, route, conversation)
        finally:
            self.under_way -= 1

    async def _as_planned(
        self, delivery: Delivery, route: Route, conversation: Conversation
    ) -> None:
        trouble, share, first = conversation.fates.webhook()
        if trouble != "none":
            self.troubles[f"webhook {trouble}"] += 1
            conversation.note(f"the webhook {delivery.event} {delivery.wa_id} is {trouble}")
        if trouble in _LATE:
            route = Route(None, late=share * _LATE[trouble])
        if trouble != "doubled":
            await self._to(first, delivery, route, conversation)
            return
        twin = Delivery(self._changes, delivery.url, delivery.headers, delivery.body)
        await self._to(first, delivery, route, conversation)
        second = replace(route, lane=None, late=_AGAIN * share * share)
        await self._to(1 - first, twin, second, conversation)

    async def _to(
        self, router: int, delivery: Delivery, route: Route, conversation: Conversation | None
    ) -> None:
        self._first[id(delivery)] = router
        try:
            await super().deliver(delivery, route)
        finally:
            del self._first[id(delivery)]
        if delivery.state != "delivered":
            self.given_up.append(delivery)
        elif conversation is not None:
            conversation.acks.setdefault((delivery.event, delivery.wa_id), time.time())
            if delivery.event in _PEOPLE:
                decision = delivery.attempts[-1].answer[:90]
                conversation.note(f"acknowledged: {delivery.event} {delivery.wa_id} {decision}")

    async def _post(self, delivery: Delivery) -> Attempt:
        tried = self._first[id(delivery)] + len(delivery.attempts)
        path = urlsplit(delivery.url).path
        delivery.url = self._routers[tried % len(self._routers)] + path
        try:
            async with asyncio.timeout(_PATIENCE):
                return await _posted(delivery)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return Attempt(None, error=f"{type(error).__name__}: {error}")

    def _conversation(self, delivery: Delivery) -> Conversation | None:
        data = delivery.body.get("data")
        if not isinstance(data, dict):
            return None
        jid = (data.get("key") or {}).get("remoteJid") or data.get("remoteJid")
        return self._directory.at(str(delivery.body["instance"]), jid)


async def _posted(delivery: Delivery) -> Attempt:
    """Post once, on a new connection.

    This does not use httpx: thousands of posts may be under way after an outage, and httpx's pool
    walks through all of them.
    """
    target = urlsplit(delivery.url)
    body = json.dumps(delivery.body, ensure_ascii=False).encode()
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in delivery.headers.items()),
    ]
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.transport.abort()
    return Attempt(int(head[9:12]), answer.decode(errors="replace"))
