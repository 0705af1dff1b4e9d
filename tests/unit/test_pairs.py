"""Evolution is asked once whose LID it is, and what it has stored of both comes in as a message."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from router.configuration.settings import load_settings
from router.evolution.client import EvolutionClient, MessagePage
from router.evolution.errors import EvolutionAway
from router.intake.ingester import Ingester
from router.intake.pairs import AT_ONCE, Pairs, told_of
from router.state.database import Json
from router.tenants.instance import InstanceKeys

LID = "201955550001001@lid"
MARIA = "5511955550001@s.whatsapp.net"
FOUND = {
    "tenant_id": 1,
    "instance_name": "shop",
    "evo_server_url": "http://127.0.0.1:1",
    "evo_api_key": "a-key",
    "is_active": True,
    "llm_provider": "anthropic",
    "llm_api_key_set": False,
    "llm_api_key": None,
    "connection_state": "open",
    "shared_webhook_secret": True,
    "webhook_hashes": [],
    "undelivered": None,
    "last_event_at": None,
    "probe_arrived": False,
}


def record(first: str, other: str | None = None, **key: Any) -> dict[str, Any]:
    key = {"remoteJid": first, "fromMe": False, "id": "AC01"} | key
    if other is not None:
        key["remoteJidAlt"] = other
    return {"key": key, "message": {"conversation": "oi"}, "messageTimestamp": 1_700_000_000}


class _State:
    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        assert function == "get_instance"
        return dict(FOUND)


class _Evolution:
    def __init__(self, *pages: list[dict[str, Any]] | Exception) -> None:
        self.pages = list(pages)
        self.asked: list[tuple[str | None, str | None]] = []
        self.now = self.most = 0

    async def find_messages(
        self, instance: object, jid: str | None, *, page_size: int, other_jid: str | None
    ) -> MessagePage:
        assert page_size <= 50
        self.asked.append((jid, other_jid))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        page = self.pages.pop(0) if self.pages else []
        if isinstance(page, Exception):
            raise page
        return MessagePage(page, 1, len(page))


class _Ingester:
    def __init__(self) -> None:
        self.events: list[Json] = []

    async def ingest(self, events: Sequence[Json], correlation_id: str) -> list[object]:
        self.events.extend(events)
        return []


class _Asking:
    def __init__(self, *pages: list[dict[str, Any]] | Exception) -> None:
        self.evolution = _Evolution(*pages)
        self.ingester = _Ingester()
        self.time = 0.0
        self.pairs = Pairs(
            _State(),
            cast("EvolutionClient", self.evolution),
            cast("Ingester", self.ingester),
            InstanceKeys.of(load_settings({}, env_file=None)),
            clock=lambda: self.time,
        )

    async def about(self, *lids: str) -> None:
        for lid in lids:
            self.pairs.ask("shop", lid)
        async with asyncio.timeout(10):
            while any(task.get_name() == "whose LID it is" for task in asyncio.all_tasks()):
                await asyncio.sleep(0)


@pytest.mark.parametrize("names", [(LID, MARIA), (MARIA, LID)])
async def test_a_stored_message_that_names_both_comes_in(names: tuple[str, str]) -> None:
    asking = _Asking([record(LID)], [record(*names)])
    await asking.about(LID)
    (event,) = asking.ingester.events
    assert set(cast("list[str]", event["jids"])) == {LID, MARIA}
    assert event["fetched"] is True
    assert asking.evolution.asked == [(LID, None), (None, LID)]


async def test_what_names_one_alone_or_others_is_of_no_use() -> None:
    others = [record(LID), record(MARIA), record("201@lid", MARIA), {"key": {}}, {}]
    asking = _Asking(others, others)
    await asking.about(LID)
    assert asking.ingester.events == []
    assert told_of("shop", LID, record(LID)) is None


async def test_each_is_asked_about_once_an_hour() -> None:
    asking = _Asking()
    await asking.about(LID, LID)
    await asking.about(LID)
    assert len(asking.evolution.asked) == 2
    asking.time = 3600
    await asking.about(LID)
    assert len(asking.evolution.asked) == 4


@pytest.mark.parametrize("failed", [EvolutionAway("it is away"), TimeoutError()])
async def test_a_question_that_failed_is_asked_again(failed: Exception) -> None:
    asking = _Asking(failed)
    await asking.about(LID)
    assert len(asking.evolution.asked) == 1
    await asking.about(LID)
    assert len(asking.evolution.asked) == 3
    await asking.about(LID)
    assert len(asking.evolution.asked) == 3


async def test_few_are_asked_about_at_once_and_many_not_at_all() -> None:
    asking = _Asking()
    await asking.about(*(f"{number}@lid" for number in range(1000, 1500)))
    assert asking.evolution.most <= AT_ONCE
    assert len(asking.evolution.asked) == 2 * 100


async def test_an_evolution_that_is_away_is_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    asking = _Asking(EvolutionAway("it is away"))
    await asking.about(LID)
    assert "whose LID" in caplog.text
    assert LID not in caplog.text
    await asking.pairs.stop()
