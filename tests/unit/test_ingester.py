"""Webhooks wait for the state in turn, whichever instance sends how many."""

import asyncio

from router.state.database import Json
from router.webhook.ingester import MAX_EVENTS_PER_CALL, Ingester


class Ledger:
    """A state whose first call lasts until it is let go; it writes down what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[Json]] = []
        self.go_on = asyncio.Event()

    async def call(self, function: str, argument: Json) -> Json:
        self.calls.append(argument["events"])
        if len(self.calls) == 1:
            await self.go_on.wait()
        return {"decisions": [{"outcome": "recorded", "key": e["key"]} for e in argument["events"]]}


def event(instance: str, number: int) -> Json:
    return {"instance": instance, "key": f"{instance}-{number}"}


async def test_a_lone_webhook_goes_in_the_next_call_however_many_another_instance_has_waiting():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, lambda *_: None)
    flood = [
        asyncio.create_task(ingester.ingest([event("crowded", number)])) for number in range(500)
    ]
    await asyncio.sleep(0)
    lone = asyncio.create_task(ingester.ingest([event("quiet", 0)]))
    await asyncio.sleep(0)
    assert ingester.waiting_for("crowded") > 300
    assert ingester.waiting_for("quiet") == 1
    ledger.go_on.set()

    assert (await lone)[0]["key"] == "quiet-0"
    assert event("quiet", 0) in ledger.calls[1]
    answers = await asyncio.gather(*flood)
    assert [answer[0]["key"] for answer in answers] == [f"crowded-{n}" for n in range(500)]
    assert all(len(call) <= MAX_EVENTS_PER_CALL for call in ledger.calls)
    assert ingester.waiting_for("crowded") == 0


async def test_each_instances_webhooks_stay_in_order():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, lambda *_: None)
    tasks = [
        asyncio.create_task(ingester.ingest([event(name, number)]))
        for number in range(120)
        for name in ("a", "b", "c")
    ]
    await asyncio.sleep(0)
    ledger.go_on.set()
    await asyncio.gather(*tasks)
    given = [e["key"] for call in ledger.calls for e in call]
    for name in "abc":
        mine = [key for key in given if key.startswith(name)]
        assert mine == [f"{name}-{number}" for number in range(120)]
