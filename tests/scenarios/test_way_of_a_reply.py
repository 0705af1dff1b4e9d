"""How few steps there are from a customer's message to the reply, and what each is for."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from router.evolution.sends import EvolutionSends
from router.intake.gap_repairs import GapRepairs
from router.sending.courtesy import Courtesy
from router.sharing.places import NoPlace, SendPlaces
from router.state.database import Json
from router.state.direct import DirectDatabase
from router.state.listening import Listening
from tests.scenarios.stage import performance

NEVER = {"POLL_SECONDS": "600", "DEBOUNCE_SECONDS": "0", "DEBOUNCE_CAP_SECONDS": "0"}
# After its first look for turns a router does nothing by itself.
OF_THE_START = "claim_turns"
BEFORE_THE_SEND = ["ingest_events", "claim_turns", "reserve_budget", "begin_send"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of the state that a message and its reply need, in their order."""
    calls: list[str] = []
    call = DirectDatabase.call

    async def noted(self: DirectDatabase, function: str, argument: Mapping[str, object]) -> Json:
        if function in {*BEFORE_THE_SEND, "save_reply", "finish_send", "fail_turn"}:
            calls.append(function)
        return await call(self, function, argument)

    monkeypatch.setattr(DirectDatabase, "call", noted)
    return calls


async def _hears_nobody(_: Listening) -> None:
    """Who hears other routers looks for turns once more when it begins to hear them."""


def _repairs_nothing(_: GapRepairs) -> None:
    """A repair of the start that is slow finds the message too, and takes it in once more."""


async def test_four_calls_of_the_state_lie_between_a_message_and_its_reply(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    called: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Listening, "run", _hears_nobody)
    monkeypatch.setattr(GapRepairs, "begin_all", _repairs_nothing)
    mark_read = EvolutionSends.mark_read
    marked: list[object] = []

    async def noted(self: EvolutionSends, *given: Any) -> bool:
        marked.append(given)
        return await mark_read(self, *given)

    monkeypatch.setattr(EvolutionSends, "mark_read", noted)
    async with performance(database_url, evolution, llm, **NEVER) as stage:
        async with asyncio.timeout(20):
            while OF_THE_START not in called:
                await asyncio.sleep(0.01)
        called.clear()
        socket = stage.shop.hold_socket()
        await stage.maria.writes("tem bolo?")
        await socket.reached()
        assert called == BEFORE_THE_SEND
        assert marked == []  # what is for looks comes behind the send
        socket.open()
        await stage.maria.answered()
        await stage.evolution.changes.until(lambda: stage.shop.read, "it is marked as read")
    assert len(marked) == 1


async def test_a_reply_in_parts_marks_its_message_as_read_once(
    database_url: str, evolution: Evolution, llm: Anthropic, monkeypatch: pytest.MonkeyPatch
):
    marked: list[object] = []
    monkeypatch.setattr(Courtesy, "read", lambda _, *given: marked.append(given))
    async with performance(database_url, evolution, llm) as stage:
        stage.llm.answers("\n\n".join(["um " * 1000, "dois " * 700, "três " * 700]))
        await stage.maria.writes("tem bolo?")
        await stage.maria.answered(3)
        await stage.turns_end()
    assert len(marked) == 1


async def test_a_reply_that_finds_no_place_is_kept_and_the_llm_is_asked_once(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    called: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    taken = SendPlaces.taken
    full = iter([True])

    def first_none(self: SendPlaces, tenant: str | None = None, wait: float = 2.0) -> object:
        if next(full, False):
            raise NoPlace("of 1 places for sends none became free")
        return taken(self, tenant, wait)

    async with performance(database_url, evolution, llm, RETRY_BASE_SECONDS="0.1") as stage:
        monkeypatch.setattr(SendPlaces, "taken", first_none)
        await stage.maria.writes("tem bolo?")
        await stage.maria.answered()
        turns = await stage.turns_end()
        assert [turn["state"] for turn in turns] == ["sent"]
        assert called.count("save_reply") == called.count("fail_turn") == 1
        assert len(stage.llm.requests) == len(stage.maria.replies) == 1
