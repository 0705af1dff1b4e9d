"""A sealed key is opened once an attempt, however much the attempt asks and sends with it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution, failures
from loopback.receiver import WebhookReceiver
from router.intake.gap_repairs import GapRepairs
from router.tenants.sealing import Vault, is_sealed
from router.turns.attempt import TurnAttempt
from tests.scenarios.flow import given, n8n, playing
from tests.scenarios.stage import Stage, performance

__all__ = ["n8n"]
SECRETS_KEY = "a-key-of-the-tests-0123456789abcdef"
PARTS = ["um " * 1000, "dois " * 700, "três " * 700]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each sealed key was opened, by its column."""
    counted: Counter[str] = Counter()
    really = Vault.open

    def open_and_count(vault: Vault, stored: str, place: str) -> SecretStr:
        assert is_sealed(stored)
        counted[place.partition(".")[2].partition(":")[0]] += 1
        return really(vault, stored, place)

    monkeypatch.setattr(Vault, "open", open_and_count)
    return counted


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The turns that were worked on, one for each attempt."""
    begun: list[int] = []
    really = TurnAttempt.run

    async def run(attempt: TurnAttempt) -> None:
        begun.append(attempt._hand.turn.turn_id)
        await really(attempt)

    monkeypatch.setattr(TurnAttempt, "run", run)
    return begun


async def seal(stage: Stage, opened: Counter[str], **values: object) -> None:
    """Have the tenant's keys sealed, as an operator stores them."""
    await stage.change(evo_api_key=stage.shop.token, **values)
    opened.clear()


@pytest.fixture(autouse=True)
def no_gap_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap repair, which the start begins, opens the key of Evolution for itself."""
    monkeypatch.setattr(GapRepairs, "begin", lambda *_: None)
    monkeypatch.setattr(GapRepairs, "begin_all", lambda _: None)


@pytest.fixture
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    sealed = {"SECRETS_KEY": SECRETS_KEY, "TYPING_SECONDS": "1"}
    async with performance(database_url, evolution, llm, **sealed) as stage:
        yield stage


async def test_a_reply_in_three_parts_opens_each_key_once(stage: Stage, opened: Counter[str]):
    await seal(stage, opened, llm_api_key="sk-ant-of-the-tenant")
    stage.llm.answers("\n\n".join(PARTS))
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered(3)
    await stage.turns_end()
    await stage.evolution.changes.until(lambda: stage.shop.read, "the courtesy is shown as well")
    assert opened == {"evo_api_key": 1, "llm_api_key": 1}


async def test_so_does_an_attempt_that_settles_a_doubt_and_goes_on(
    stage: Stage, opened: Counter[str], attempts: list[int]
):
    await seal(stage, opened)
    stage.llm.answers("\n\n".join(PARTS))
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered(3)
    await stage.turns_end()
    assert len(stage.maria.replies) == 3
    assert len(attempts) > 1
    assert opened["evo_api_key"] <= len(attempts)


async def test_so_does_an_attempt_that_asks_for_the_line_before_it_makes_the_reply_anew(
    stage: Stage, opened: Counter[str], attempts: list[int]
):
    await seal(stage, opened)
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
    await stage.maria.writes("tem bolo?")
    await stage.until("select waits from turns", lambda turns: bool(turns and turns[0]["waits"]))
    await stage.maria.writes("de cenoura?")  # the reply is thrown away
    stage.shop.heal("sendText")
    await stage.maria.answered()
    await stage.turns_end()
    assert stage.shop.calls("connectionState")
    assert opened["evo_api_key"] <= len(attempts)


async def test_so_does_a_request_of_a_flow(
    database_url: str, evolution: Evolution, llm: Anthropic, n8n: WebhookReceiver,
    opened: Counter[str],
):  # fmt: skip
    async with playing(database_url, evolution, llm, n8n, SECRETS_KEY=SECRETS_KEY) as stage:
        await seal(stage, opened)
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        opened.clear()
        assert (await flow.sends("temos!")).status_code == 201
        async with asyncio.timeout(20):
            while not stage.shop.read:  # what it answers is marked as read, with the same key
                await asyncio.sleep(0.01)
        assert opened == {"evo_api_key": 1}
        opened.clear()
        presence = await flow.calls("chat/sendPresence", {"presence": "composing", "delay": 100})
        assert presence.status_code == 201, presence.text
        assert opened == {"evo_api_key": 1}
        await flow.reports("done")
        await stage.turns_end()
