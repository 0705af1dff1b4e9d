"""Evolution's webhooks on their way to the two routers: late, doubled, out of order."""

import asyncio
import time
from collections import Counter

from benchmarks.faults.conversation import Conversation, Directory
from loopback.evolution import Delivery
from loopback.evolution.webhooks import Wire

_PEOPLE = ("messages.upsert", "messages.edited", "messages.delete")


class PlannedWire(Wire):
    """Posts each webhook to either router, as planned for its conversation, until `calm`."""

    def __init__(self, directory: Directory, routers: list[str], retry_seconds: float) -> None:
        super().__init__(retry_seconds=retry_seconds)
        self._directory = directory
        self._routers = routers
        self._next = 0
        self.calm = False
        self.under_way = 0
        self.troubles: Counter[str] = Counter()
        self.given_up: list[Delivery] = []

    async def deliver(self, delivery: Delivery, lane: str | None, copies: int = 1) -> None:
        """Post until it is settled."""
        self.under_way += 1
        try:
            await self._post_as_planned(delivery, lane, copies)
        finally:
            self.under_way -= 1

    async def _post_as_planned(self, delivery: Delivery, lane: str | None, copies: int) -> None:
        conversation = self._conversation(delivery)
        if conversation is None or self.calm:
            self._next += 1
            delivery.url = self._routers[self._next % 2] + delivery.url
            await super().deliver(delivery, lane, copies)
            self._settled(delivery, conversation)
            return
        trouble, share, first = conversation.fates.webhook()
        path = delivery.url
        delivery.url = self._routers[first] + path
        if trouble != "none":
            self.troubles[f"webhook {trouble}"] += 1
        if trouble in ("late", "very_late"):
            lane = None
            conversation.note(f"the webhook {delivery.event} {delivery.wa_id} is {trouble}")
            await asyncio.sleep(share * (1.5 if trouble == "late" else 6))
        await super().deliver(delivery, lane, copies)
        self._settled(delivery, conversation)
        if trouble == "doubled":
            twin = Delivery(
                delivery._changes,  # noqa: SLF001 - a second delivery of the same
                self._routers[1 - first] + path,
                delivery.headers,
                delivery.body,
            )
            await asyncio.sleep(share * share * 3)
            await super().deliver(twin, None)

    def _settled(self, delivery: Delivery, conversation: Conversation | None) -> None:
        if delivery.state != "delivered":
            self.given_up.append(delivery)
        elif conversation is not None:
            conversation.acks.setdefault((delivery.event, delivery.wa_id), time.time())
            if delivery.event in _PEOPLE:
                decision = delivery.attempts[-1].answer[:90]
                conversation.note(f"acknowledged: {delivery.event} {delivery.wa_id} {decision}")

    def _conversation(self, delivery: Delivery) -> Conversation | None:
        data = delivery.body.get("data")
        if not isinstance(data, dict):
            return None
        jid = (data.get("key") or {}).get("remoteJid") or data.get("remoteJid")
        return self._directory.at(str(delivery.body["instance"]), jid)
