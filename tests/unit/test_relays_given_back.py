"""A relay that its router had begun on while it stops is given back, and waits for no lease."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from router.relays.delivery import Delivery, RelayServices
from router.state.calls.relays import ClaimedRelay
from router.state.database import Json

NOW = "2026-11-20T12:00:00+00:00"
RELAY = {
    "relay_id": 7, "token": "11111111-1111-4111-8111-111111111111", "attempt": 1,
    "source": "operator", "tenant_id": 1, "instance_name": "shop", "evo_server_url": "http://e",
    "evo_api_key": None, "timezone": None, "session_id": 2, "words": None, "facts": {},
    "outcome": None, "send_state": None, "error": None, "created_at": NOW, "now": NOW,
}  # fmt: skip


class Slow:
    """A state that does not say what is to be sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.asked = asyncio.Event()

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        self.calls.append((function, argument))
        if function == "read_relay":
            self.asked.set()
            await asyncio.Event().wait()
        return {"ok": True}


@contextmanager
def room(*_: object) -> Iterator[None]:
    yield


async def test_what_is_cut_off_before_its_send_is_due_at_once():
    state = Slow()
    desk = RelayServices(
        database=state,
        outbox=cast("Any", None),
        media=cast("Any", SimpleNamespace(room=room)),
        turns=cast("Any", None),
        policy={"answer_within_minutes": 60},
        default_zone="UTC",
    )
    delivery = Delivery(ClaimedRelay.model_validate(RELAY), desk)
    running = asyncio.create_task(delivery.run())
    await state.asked.wait()
    assert delivery.stop()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    function, given = state.calls[-1]
    assert (function, given["relay_id"], given["again_in"]) == ("settle_relay", 7, 0)
