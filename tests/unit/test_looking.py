"""A tenant's Evolution that shows much, or without end, is looked through so far and no further."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.exchange import Instance
from router.sending import looking
from router.sending.evidence import Doubt
from router.sending.looking import Looking, Whereabouts

NOW = datetime.now(UTC)
DOUBT = Doubt("text", "Olá", NOW, None, None)


class Shows(EvolutionClient):
    """An Evolution that has always one more page, each so heavy, and holds its answers."""

    def __init__(self, weight: int = 0) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._weight = weight

    async def find_messages(self, instance: Instance, jid: str | None, **_: Any) -> MessagePage:
        self.asked.append(instance.name)
        await self.gate.wait()
        records: list[Mapping[str, Any]] = []
        return MessagePage(records, pages=1_000_000, total=0, weight=self._weight)


def chat(name: str = "shop") -> Whereabouts:
    instance = Instance("http://127.0.0.1:1", SecretStr("key"), name)
    return Whereabouts(instance, ["a@lid", "b@lid"], frozenset(), frozenset(), NOW, NOW)


async def test_however_many_pages_there_are_said_to_be_some_are_looked_at():
    evolution = Shows()
    await Looking(evolution, 60).look([DOUBT], chat())
    assert len(evolution.asked) == 40


async def test_of_heavy_pages_fewer_are_looked_at_and_nothing_is_concluded_from_them():
    evolution = Shows(weight=20_000_000)
    verdict = await Looking(evolution, -60).look([DOUBT], chat())
    assert len(evolution.asked) == 2
    assert verdict.findings[0].outcome == "unknown"


async def test_a_look_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(looking, "_LONGEST_LOOK", 0.05)
    evolution = Shows()
    evolution.gate.clear()
    verdict = await Looking(evolution, -60).look([DOUBT], chat())
    assert verdict.findings[0].outcome == "unknown"


async def test_what_came_while_it_was_looked_for_is_not_taken_for_lost():
    """However long the look takes, and whatever this machine's clock says."""

    class ShowsTheirs(EvolutionClient):
        def __init__(self) -> None:
            pass

        async def find_messages(self, *_: Any, **__: Any) -> MessagePage:
            theirs = {"key": {"id": "AC1", "fromMe": False}, "message": {"conversation": "oi"}}
            return MessagePage([theirs], pages=1, total=1, weight=0)

    looks, where = Looking(ShowsTheirs(), 60), replace(chat(), theirs=frozenset({"AC1"}))
    old = replace(DOUBT, began_at=NOW - timedelta(hours=1))
    for seconds, outcome in ((59, "unknown"), (61, "not_sent")):
        before = replace(where, now=NOW + timedelta(seconds=seconds))
        assert (await looks.look([DOUBT], before)).findings[0].outcome == outcome
        shown = replace(before, now=old.began_at + timedelta(seconds=seconds))
        assert (await looks.look([old], shown)).findings[0].outcome == outcome


async def test_a_tenant_whose_evolution_hangs_is_looked_through_four_times_at_once():
    evolution = Shows()
    evolution.gate.clear()
    looks = Looking(evolution, 60)
    hanging = [asyncio.create_task(looks.look([DOUBT], chat("hostile"))) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert evolution.asked == ["hostile"] * 4
    quiet = asyncio.create_task(looks.look([DOUBT], chat("quiet")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert evolution.asked[4:] == ["quiet"]
    evolution.gate.set()
    await asyncio.gather(quiet, *hanging)
