"""A router that stood still tells no notice that another router may have by then."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any, cast

import pytest
from pydantic import SecretStr

from router.errors import DatabaseAway
from router.n8n.handler import N8nHandler
from router.n8n.notice_flows import NoticeFlows, NoticeTerms
from router.notices.delivery import Delivery, NoticeServices
from router.notices.notifier import NoticeLimits, Notifier
from router.sending.outbox import Outbox
from router.state.calls.notices import ClaimedNotice
from router.state.database import Json
from tests.exchanges import Line, client, clock_of, friendly, server, stand_still
from tests.unit.test_answering import RULES, Database, Fallback
from tests.unit.test_notices_given_back import NOTICE, NOW
from tests.unit.test_outbox import Ledger, Phone, outbox

LEASE = 60.0
NO_OUTBOX = cast("Outbox", None)


class State:
    """A state that writes down how the notice's delivery ended."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Json]] = []

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        self.calls.append((function, dict(argument)))
        return {"state": "pending"} if function == "fail_notice" else {"ok": True}

    @property
    def gave_back(self) -> bool:
        """Whether it is due again at once, and this attempt does not count."""
        ((function, given),) = self.calls
        return (function, given.get("away"), given.get("base_seconds")) == ("fail_notice", True, 0)


def told(state: State, **services: Any) -> NoticeServices:
    given = {"http": None, "outbox": NO_OUTBOX, "flows": None, **services}
    return NoticeServices(state, max_attempts=5, retry_base=30, **given)


def notice(**given: Any) -> ClaimedNotice:
    return ClaimedNotice.model_validate({**NOTICE, "attempt": 5, **given})


async def test_a_webhook_is_not_told_when_the_lease_may_be_over(monkeypatch: pytest.MonkeyPatch):
    """The next router told it meanwhile: the people of the business would read it twice."""
    stand_still(monkeypatch, LEASE - 5)
    state = State()
    async with server(friendly) as there, client() as http:
        late = notice(url=there.url)
        await Delivery(late, told(state, http=http), monotonic() + LEASE).run()
    assert there.asked == 0
    assert state.gave_back


async def test_a_notice_that_cannot_be_given_back_waits_for_its_lease(
    monkeypatch: pytest.MonkeyPatch,
):
    class Away(State):
        async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
            await super().call(function, argument)
            raise DatabaseAway("gone")

    stand_still(monkeypatch, LEASE - 5)
    state = Away()
    async with server(friendly) as there, client() as http:
        late = notice(url=there.url)
        await Delivery(late, told(state, http=http), monotonic() + LEASE).run()
    assert state.gave_back


async def test_a_webhook_is_told_by_a_router_that_stood_still_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
):
    stand_still(monkeypatch, LEASE / 2)
    state = State()
    async with server(friendly) as there, client() as http:
        in_time = notice(url=there.url, number=None)
        await Delivery(in_time, told(state, http=http), monotonic() + LEASE).run()
    assert there.asked == 1
    assert [name for name, _ in state.calls] == ["finish_notice"]


@pytest.mark.parametrize("number", [NOTICE["number"], None])
async def test_a_flow_is_not_told_either_and_n8n_is_not_away(
    number: str | None, monkeypatch: pytest.MonkeyPatch
):
    stand_still(monkeypatch, LEASE - 5)
    state = State()
    async with server(friendly) as there, client() as http:
        n8n = N8nHandler(http, Database(), RULES, Fallback())
        terms = NoticeTerms(there.url, SecretStr("key"), "http://router.example", LEASE)
        services = told(state, flows=NoticeFlows(http, n8n, terms))
        late = notice(number=number, attempt=1)
        await Delivery(late, services, monotonic() + LEASE).run()
    assert there.asked == 0
    assert state.gave_back
    assert not n8n.breaker.failures


@pytest.mark.parametrize("by", ["url", "flow"])
async def test_a_router_that_stood_still_while_it_connected_gives_the_notice_back(
    by: str, monkeypatch: pytest.MonkeyPatch
):
    """Neither the webhook nor n8n has failed."""
    stood_still = clock_of(monkeypatch)

    async def resolve(host: str, port: int) -> list[str]:
        stood_still(LEASE)
        await asyncio.Event().wait()
        return []

    state = State()
    async with client(resolve=resolve) as http:
        n8n = N8nHandler(http, Database(), RULES, Fallback())
        terms = NoticeTerms("http://n8n.example", SecretStr("key"), "http://router.example", LEASE)
        flows = NoticeFlows(http, n8n, terms) if by == "flow" else None
        late = notice(number=None, url="http://webhook.example/", attempt=1)
        services = told(state, http=http, flows=flows)
        await Delivery(late, services, monotonic() + LEASE).run()
    assert state.gave_back
    assert not n8n.breaker.failures


async def test_a_router_that_stood_still_while_n8n_took_a_notice_does_not_take_n8n_for_away(
    monkeypatch: pytest.MonkeyPatch,
):
    stood_still = clock_of(monkeypatch)

    async def answers(line: Line) -> None:
        await line.hear()
        stood_still(LEASE)
        await line.ended()

    state = State()
    async with server(answers) as there, client() as http:
        n8n = N8nHandler(http, Database(), RULES, Fallback())
        terms = NoticeTerms(there.url, SecretStr("key"), "http://router.example", LEASE)
        services = told(state, flows=NoticeFlows(http, n8n, terms))
        await Delivery(notice(attempt=1), services, monotonic() + LEASE).run()
    assert not state.calls  # only the end of the lease will show whether a flow has it
    assert not n8n.breaker.failures


async def test_the_lease_counts_from_before_the_claim(monkeypatch: pytest.MonkeyPatch):
    """The state has begun to count by the time its answer is here."""
    now = 100.0
    monkeypatch.setattr("router.notices.notifier.monotonic", lambda: now)

    class Claimed(State):
        async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
            nonlocal now
            if function != "claim_notices":
                return await super().call(function, argument)
            now += LEASE / 2
            return {
                "notices": [NOTICE], "now": NOW, "after_tenant": 1, "more": False,
                "next_due_at": None,
            }  # fmt: skip

    ends: list[float] = []
    state = Claimed()

    def begin(claimed: ClaimedNotice, lease_ends: float) -> Delivery:
        ends.append(lease_ends)
        delivery = Delivery(claimed, told(state), lease_ends)
        delivery.stop()
        return delivery

    limits = NoticeLimits(parallel=3, lease=LEASE, max_attempts=5, poll=600)
    notifier = Notifier(state, limits, begin)
    running = asyncio.create_task(notifier.run())
    while not state.calls:
        await asyncio.sleep(0)
    await notifier.stop(0)
    await running
    assert ends[0] == 100.0 + LEASE


async def test_a_fence_that_finds_the_lease_over_uses_up_no_attempt():
    """The last attempt would have made the notice dead, and nobody had been told."""
    state, phone = State(), Phone()
    way_out = outbox(Ledger(begin_notice_send={"refused": "stale"}), phone)
    late = notice(url=None)
    await Delivery(late, told(state, outbox=way_out), monotonic() + LEASE).run()
    ((function, given),) = state.calls
    assert (function, given["away"], phone.bodies) == ("fail_notice", True, [])
