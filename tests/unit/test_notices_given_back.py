"""A notice that was claimed while its router stops is given back, and not kept from others."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from router.notices.delivery import Delivery, NoticeServices
from router.notices.notifier import NoticeLimits, Notifier
from router.sending.outbox import Outbox
from router.state.database import Json

NOW = "2026-11-20T12:00:00+00:00"
NOTICE = {
    "notice_id": 7, "token": "11111111-1111-4111-8111-111111111111", "attempt": 1,
    "kind": "handoff", "tenant_id": 1, "instance_name": "shop", "session_id": 2, "facts": {},
    "created_at": NOW, "number": "5511955550001", "url": None, "told": False,
}  # fmt: skip


class Stopped:
    """A state whose router is stopped while it gives out a notice."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.claimed = asyncio.Event()
        self.go_on = asyncio.Event()

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        self.calls.append((function, argument))
        if function == "fail_notice":
            return {"state": "pending"}
        self.claimed.set()
        await self.go_on.wait()
        return {
            "notices": [NOTICE], "now": NOW, "after_tenant": 1, "more": False, "next_due_at": None,
        }  # fmt: skip


@pytest.mark.parametrize("stops", [1, 2])
async def test_what_a_claim_brings_after_the_stop_is_due_at_once_and_costs_no_attempt(stops: int):
    state = Stopped()
    desk = NoticeServices(
        state, cast("Any", None), cast("Outbox", None), None, max_attempts=5, retry_base=30
    )
    begun: list[Delivery] = []

    def begin(notice: Any, lease_ends: float) -> Delivery:
        begun.append(Delivery(notice, desk, lease_ends))
        return begun[0]

    limits = NoticeLimits(parallel=3, lease=60, max_attempts=5, poll=600)
    notifier = Notifier(state, limits, begin)
    running = asyncio.create_task(notifier.run())
    await state.claimed.wait()
    for _ in range(stops):
        await notifier.stop(0)
    state.go_on.set()
    await running
    for _ in range(5):
        await asyncio.sleep(0)
    function, given = state.calls[-1]
    assert function == "fail_notice"
    assert (given["notice_id"], given["away"], given["base_seconds"]) == (7, True, 0)


def test_a_delivery_that_gives_back_is_not_cancelled():
    delivery = Delivery(cast("Any", None), cast("NoticeServices", None), 0)
    assert delivery.stop()
    assert not delivery.stop()
