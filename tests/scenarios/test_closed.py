"""A customer writes to a closed business."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.scenarios.stage import Stage, performance

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
AWAY = "Estamos fechados. Abrimos às {time}."


class Closed:
    """A business that opens in two hours, by UTC's clock, for an hour each day."""

    def __init__(self) -> None:
        opens = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=0)
        window = f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"
        weekly = {day: [window] for day in DAYS}
        self.settings = {"opening_hours": {"weekly": weekly}, "away_message": AWAY}
        self.told = f"Estamos fechados. Abrimos às {opens:%H:%M}."


@pytest.fixture
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    async with performance(database_url, evolution, llm, DEBOUNCE_SECONDS="0.1") as stage:
        yield stage


async def test_who_writes_is_told_once_and_answered(stage: Stage):
    closed = Closed()
    await stage.change(**closed.settings)
    stage.llm.answers("Pode deixar.", "Até amanhã.")
    await stage.maria.writes("tem bolo?")
    assert await stage.maria.answered(2) == [closed.told, "Pode deixar."]
    assert ("assistant", closed.told) in stage.llm.requests[-1].messages
    assert "The business is closed, and opens" in stage.llm.requests[-1].system
    await stage.maria.writes("obrigada")
    assert await stage.maria.answered(3) == [closed.told, "Pode deixar.", "Até amanhã."]
    assert not await stage.paused()
    turns = await stage.turns_end()
    assert [turn["state"] for turn in turns] == ["sent", "sent"]


async def test_the_ai_says_no_more_where_the_tenant_wants_it_so(stage: Stage):
    closed = Closed()
    await stage.change(**closed.settings, answer_when_closed=False)
    await stage.maria.writes("tem bolo?")
    assert await stage.maria.answered(1) == [closed.told]
    await stage.turns_end()
    await stage.maria.writes("alguém aí?")
    turns = await stage.until("select * from turns", lambda rows: len(rows) == 2)
    turns = await stage.turns_end()
    assert [(turn["state"], turn["reason"]) for turn in turns] == [("cancelled", "closed")] * 2
    assert stage.maria.replies == [closed.told]
    assert stage.llm.requests == []
    assert not await stage.paused()


async def test_a_human_who_has_the_conversation_is_not_talked_over(stage: Stage):
    closed = Closed()
    await stage.change(**closed.settings)
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    await stage.until("select * from sessions", lambda rows: any(r["is_paused"] for r in rows))
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from messages where not from_me", lambda rows: len(rows) == 1)
    await stage.turns_end()
    assert stage.maria.replies == []


async def test_an_open_business_says_nothing_of_it(stage: Stage):
    week = {day: ["00:00-24:00"] for day in DAYS}
    await stage.change(opening_hours={"weekly": week}, away_message=AWAY)
    stage.llm.answers("Tem!")
    await stage.maria.writes("tem bolo?")
    assert await stage.maria.answered(1) == ["Tem!"]
