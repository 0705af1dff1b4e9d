"""Webhooks wait for the state in turn, whichever instance sends how many."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from router.errors import DatabaseAway, DatabaseTooSlow
from router.intake.ingester import STREAMS, Ingester, stream_of
from router.intake.stream import EVENTS_OF_ONE_WEBHOOK, MAX_EVENTS_PER_CALL
from router.state.calls.intake import Decision
from router.state.database import Json
from tests.fixtures.marks import plain_marks


class Ledger:
    """A state whose first call lasts until it is let go; it writes down what it was given."""

    def __init__(self, busy: Callable[[Json, int], bool] = lambda *_: False) -> None:
        """`busy(event, call)` says whether an event's session is held by somebody else."""
        self.calls: list[list[Json]] = []
        self.patience: list[object] = []
        self.go_on = asyncio.Event()
        self._busy = busy

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        self.calls.append(argument["events"])
        self.patience.append(argument["patience_ms"])
        call = len(self.calls)
        if call == 1:
            await self.go_on.wait()
        await asyncio.sleep(0)  # a real one, too, lets others have their turn
        return {
            "decisions": [
                {"outcome": "busy"}
                if self._busy(e, call)
                else {"outcome": "recorded", "decision": e["key"]}
                for e in argument["events"]
            ]
        }


def event(instance: str, number: int) -> Json:
    return {"instance": instance, "type": "status", "key": f"{instance}-{number}"}


async def test_a_lone_webhook_goes_in_the_next_call_however_many_another_instance_has_waiting():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    flood = [
        asyncio.create_task(ingester.ingest([event("crowded", number)], "w"))
        for number in range(500)
    ]
    await asyncio.sleep(0)
    lone = asyncio.create_task(ingester.ingest([event("quiet", 0)], "w"))
    await asyncio.sleep(0)
    assert ingester.waiting_for("crowded") > 300
    assert ingester.waiting_for("quiet") == 1
    ledger.go_on.set()

    assert (await lone)[0].decision == "quiet-0"
    assert "quiet-0" in [e["key"] for e in ledger.calls[1]]
    answers = await asyncio.gather(*flood)
    assert [answer[0].decision for answer in answers] == [f"crowded-{n}" for n in range(500)]
    assert all(len(call) <= MAX_EVENTS_PER_CALL for call in ledger.calls)
    assert ingester.waiting_for("crowded") == 0


async def test_each_instances_webhooks_stay_in_order():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    tasks = [
        asyncio.create_task(ingester.ingest([event(name, number)], "w"))
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


async def test_a_webhook_with_thousands_of_events_is_cut_and_nobody_waits_behind_it():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    hog = asyncio.create_task(ingester.ingest([event("crowded", n) for n in range(5000)], "w"))
    await asyncio.sleep(0)
    lone = asyncio.create_task(ingester.ingest([event("quiet", 0)], "w"))
    await asyncio.sleep(0)
    ledger.go_on.set()
    assert (await lone)[0].decision == "quiet-0"
    assert "quiet-0" in [e["key"] for e in ledger.calls[1]]
    assert [decision.decision for decision in await hog] == [f"crowded-{n}" for n in range(5000)]
    sizes = [sum(e["instance"] == "crowded" for e in call) for call in ledger.calls]
    assert max(sizes) == EVENTS_OF_ONE_WEBHOOK


def said(contact: int, number: int) -> Json:
    jids = [f"5511{contact:09}@s.whatsapp.net"]
    return {"instance": "a", "type": "status", "key": f"{contact}-{number}", "jids": jids}


async def test_a_slow_call_holds_up_its_own_lane_and_what_is_said_in_a_chat_goes_one():
    contacts = {stream_of([said(contact, 0)]): contact for contact in range(50)}
    assert len(contacts) == STREAMS
    slow, quick = contacts[0], contacts[1]
    ledger = Ledger()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    first = asyncio.create_task(ingester.ingest([said(slow, 0)], "w"))
    await asyncio.sleep(0)
    behind = asyncio.create_task(ingester.ingest([said(slow, 1)], "w"))
    assert (await ingester.ingest([said(quick, 0)], "w"))[0].outcome == "recorded"
    assert not first.done()
    assert not behind.done()
    assert ingester.waiting_for("a") == 1
    ledger.go_on.set()
    await asyncio.gather(first, behind)
    assert [e["key"] for call in ledger.calls for e in call if e["key"].startswith(f"{slow}-")] == [
        f"{slow}-0",
        f"{slow}-1",
    ]


async def test_what_waits_is_counted_in_events():
    ledger = Ledger()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    first = asyncio.create_task(ingester.ingest([event("a", 0)], "w"))
    await asyncio.sleep(0)
    second = asyncio.create_task(ingester.ingest([event("a", n) for n in range(1, 31)], "w"))
    await asyncio.sleep(0)
    assert ingester.waiting_for("a") == 30
    ledger.go_on.set()
    await asyncio.gather(first, second)


async def test_what_is_busy_is_asked_again_before_what_came_after_it_and_holds_nobody_up():
    is_held = True
    ledger = Ledger(busy=lambda e, _: e["key"] == "a-1" and is_held)
    reactions: list[str] = []
    ingester = Ingester(ledger, {}, plain_marks(), lambda e, _: reactions.append(e["key"]))
    ledger.go_on.set()
    held = asyncio.create_task(ingester.ingest([event("a", 1), event("a", 2)], "w"))
    await asyncio.sleep(0)
    later = asyncio.create_task(ingester.ingest([event("a", 3)], "w"))
    assert (await ingester.ingest([event("b", 1)], "w"))[0].decision == "b-1"
    assert not held.done()
    is_held = False
    assert [decision.decision for decision in await held] == ["a-1", "a-2"]
    await later
    assert reactions.count("a-1") == reactions.count("a-2") == 1
    asked = [e["key"] for call in ledger.calls for e in call if e["instance"] == "a"]
    assert asked.index("a-1") < asked.index("a-3")
    assert all(patience == 50 for patience in ledger.patience)


async def test_who_is_busy_for_too_long_is_told_that_it_was_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("router.intake.stream._GIVE_UP_AFTER", 0.0)
    ledger = Ledger(busy=lambda e, _: e["key"] == "a-1")
    ledger.go_on.set()
    ingester = Ingester(ledger, {}, plain_marks(), lambda *_: None)
    with pytest.raises(DatabaseAway):
        await ingester.ingest([event("a", 1)], "w")
    assert (await ingester.ingest([event("a", 2)], "w"))[0].decision == "a-2"


class Poisoned:
    """A state that takes too long over one instance's events, and writes down what it was asked."""

    def __init__(self, error: Exception, slow: str = "slow") -> None:
        self.calls: list[list[str]] = []
        self._error = error
        self._slow = slow

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        instances = [e["instance"] for e in argument["events"]]
        self.calls.append(instances)
        await asyncio.sleep(0)
        if self._slow in instances:
            raise self._error
        return {
            "decisions": [{"outcome": "recorded", "decision": e["key"]} for e in argument["events"]]
        }


def of_stream(stream: int, prefix: str) -> Json:
    """Return an event of an instance whose events go that stream."""
    names = (f"{prefix}{number}" for number in range(100))
    return next(event(name, 0) for name in names if stream_of([event(name, 0)]) == stream)


async def test_an_instance_whose_events_take_too_long_fails_alone_and_goes_apart():
    slow = of_stream(0, "slow")
    state = Poisoned(DatabaseTooSlow("late"), slow["instance"])
    ingester = Ingester(state, {}, plain_marks(), lambda *_: None)
    others = [of_stream(0, prefix) for prefix in ("a", "b", "c")]
    first = asyncio.create_task(ingester.ingest([of_stream(0, "first")], "w"))
    await asyncio.sleep(0)
    tasks = [
        asyncio.create_task(ingester.ingest([each], "w")) for each in (others[0], slow, *others[1:])
    ]
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(answers.pop(2), DatabaseTooSlow)
    assert all(isinstance(each, list) for each in answers)

    state.calls.clear()
    again = asyncio.create_task(ingester.ingest([slow], "w"))
    assert (await ingester.ingest([others[0]], "w"))[0].outcome == "recorded"
    with pytest.raises(DatabaseTooSlow):
        await again
    assert all(len(set(call)) == 1 for call in state.calls)


async def test_one_that_comes_back_and_is_slow_again_goes_apart_for_twice_as_long():
    now = 0.0
    slow = of_stream(0, "slow")
    state = Poisoned(DatabaseTooSlow("late"), slow["instance"])
    ingester = Ingester(state, {}, plain_marks(), lambda *_: None, clock=lambda: now)
    slow_calls: list[float] = []

    async def it_sends_among_others() -> bool:
        """Whether others had to be asked about again."""
        state.calls.clear()
        others = [of_stream(0, prefix) for prefix in ("a", "b", "c")]
        tasks = [asyncio.create_task(ingester.ingest([each], "w")) for each in (slow, *others)]
        assert isinstance((await asyncio.gather(*tasks, return_exceptions=True))[0], Exception)
        return any(slow["instance"] in call and len(set(call)) > 1 for call in state.calls)

    while now < 36_000:
        if await it_sends_among_others():
            slow_calls.append(now)
        now += 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(slow_calls)]
    assert gaps[:6] == sorted(gaps[:6])
    assert len(slow_calls) < 20
    now += 40_000  # in which it was quick
    assert await it_sends_among_others()
    now += 70
    assert await it_sends_among_others()


@pytest.mark.parametrize("error", [DatabaseAway("no answer"), DatabaseTooSlow("late")])
async def test_while_the_database_is_away_nobody_is_asked_about_one_by_one(error: Exception):
    class Away:
        calls = 0

        async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
            self.calls += 1
            await asyncio.sleep(0)
            raise error

    state = Away()
    ingester = Ingester(state, {}, plain_marks(), lambda *_: None)
    names = [f"i{number}" for number in range(60)]
    tasks = [asyncio.create_task(ingester.ingest([event(name, 0)], "w")) for name in names]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, DatabaseAway) for answer in answers)
    assert state.calls < 12
    assert not any(ingester.waiting_for(name) for name in names)


class Limited:
    """A state that decides the first 60 events of a call; more comes from others meanwhile."""

    def __init__(self) -> None:
        self.calls = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        self.calls += 1
        self.meanwhile()
        await asyncio.sleep(0)
        return {
            "decisions": [
                {"outcome": "recorded" if place < 60 else "busy", "decision": e["key"]}
                for place, e in enumerate(argument["events"])
            ]
        }


async def test_who_was_left_out_for_want_of_time_comes_first_in_the_next_call():
    state = Limited()
    ingester = Ingester(state, {}, plain_marks(), lambda *_: None)
    floods = [of_stream(0, prefix)["instance"] for prefix in ("aaa", "bbb")]
    tasks: list[asyncio.Task[list[Decision]]] = []

    def flood() -> None:
        if state.calls < 30:
            for number in range(80):
                made = ingester.ingest([event(floods[number % 2], number)], "w")
                tasks.append(asyncio.create_task(made))

    flood()
    await asyncio.sleep(0)
    state.meanwhile = flood
    late = of_stream(0, "zzz")
    assert (await ingester.ingest([late], "w"))[0].outcome == "recorded"
    assert state.calls < 5
    await asyncio.gather(*tasks)
