"""Whoever brings an event, it gets its marks on the one way in."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.people.hashing import ContactHashes
from router.sharing.rates import Rates
from router.state.database import Json

MARIA, JOAO = "5511955550001@s.whatsapp.net", "5511955550002@s.whatsapp.net"
KEYS = [SecretStr("a" * 32), SecretStr("b" * 32)]


class State:
    """Takes everything, and keeps it."""

    def __init__(self) -> None:
        self.events: list[Json] = []

    async def call(self, function: str, argument: Mapping[str, Any]) -> Json:
        await asyncio.sleep(0)
        self.events += argument["events"]
        return {"decisions": [{"outcome": "recorded"} for _ in argument["events"]]}


def event(jid: str = MARIA, **changes: object) -> Json:
    said = {"instance": "shop", "type": "message", "key": "k", "from_me": False, "jids": [jid]}
    return said | changes


async def brought(*events: Json, messages_per_minute: int = 2) -> list[Json]:
    """Return the events as the state is given them."""
    state = State()
    marks = Marks(ContactHashes(KEYS), Rates(), messages_per_minute)
    ingester = Ingester(state, {}, marks, lambda *_: None)
    for each in events:
        await ingester.ingest([each], "gap-1")
    return state.events


@pytest.mark.parametrize("changes", [{}, {"fetched": True}, {"type": "edit"}, {"from_me": True}])
async def test_every_event_says_what_brought_it_and_carries_its_contacts_hashes(changes: Json):
    (given,) = await brought(event(**changes))
    assert given["correlation_id"] == "gap-1"
    assert given["hashes"] == ContactHashes(KEYS).added_to({"jids": [MARIA]})["hashes"]
    assert len(given["hashes"]) == len(KEYS)


async def test_what_is_about_nobody_has_no_hashes():
    (given,) = await brought({"instance": "shop", "type": "connection", "key": "k"})
    assert given["correlation_id"] == "gap-1"
    assert "hashes" not in given


async def test_beyond_so_many_messages_a_minute_a_contacts_are_a_flood_and_no_others():
    given = await brought(*[event() for _ in range(4)], event(JOAO), event(instance="other"))
    assert [each.get("flood") for each in given] == [None, None, True, True, None, None]


@pytest.mark.parametrize("changes", [{"fetched": True}, {"from_me": True}, {"type": "status"}])
async def test_what_no_contact_wrote_just_now_is_in_no_flood_and_makes_none(changes: Json):
    given = await brought(*[event(**changes) for _ in range(9)], event(), event(), event())
    assert [each.get("flood") for each in given] == [None] * 11 + [True]
