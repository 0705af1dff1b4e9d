"""The LLM or WhatsApp is away for a while: nobody is lost, and the newest are answered first."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Customer, Evolution, failures
from loopback.replies import empty
from tests.routers import environment, running_router
from tests.scenarios.stage import Stage, performance

# Nobody looks by themselves, and what is put off waits for more than a test does.
PATIENT = {
    "POLL_SECONDS": "600",
    "RETRY_BASE_SECONDS": "30",
    "TURN_LEASE_SECONDS": "100",
    "LLM_TIMEOUT": "30",
}
ONE_PLACE = {"MAX_CONCURRENT_TURNS": "1"}
PUT_OFF = "select * from turns where error_kind = 'away' and state = 'pending'"


def customers(stage: Stage, count: int) -> list[Customer]:
    return [
        stage.shop.customer(f"55119666600{number:02}", name=f"C{number}") for number in range(count)
    ]


def of_length(number: int) -> Callable[[list[Any]], bool]:
    return lambda rows: len(rows) == number


async def write_in_vain(stage: Stage, those: list[Customer]) -> None:
    """They write, one after the other, and each is put off."""
    for place, each in enumerate(those, 1):
        await each.writes("oi")
        await stage.until(PUT_OFF, of_length(place))
        await stage.time_passes(seconds=1)  # WhatsApp tells the time in seconds


async def in_order(stage: Stage) -> list[str]:
    """Who was answered, the first one first, once all are."""
    await stage.turns_end()
    rows = await stage.sql(
        "select s.contact_name from messages as m join sessions as s on s.id = m.session_id"
        " where m.from_me and m.send_state = 'sent' order by m.send_began_at"
    )
    return [row["contact_name"] for row in rows]


async def test_when_the_llm_is_back_all_are_answered_at_once_the_newest_first(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with performance(database_url, evolution, llm, **PATIENT, **ONE_PLACE) as stage:
        llm.fail(llm.broken(), times=None)
        waiting = customers(stage, 4)
        await write_in_vain(stage, waiting)
        assert {turn["attempt"] for turn in await stage.sql(PUT_OFF)} == {0}
        llm.heal()
        await stage.maria.writes("oi")
        for each in (stage.maria, *waiting):
            await each.answered()
        assert await in_order(stage) == ["Maria", "C3", "C2", "C1", "C0"]


async def test_when_the_line_is_back_too(database_url: str, evolution: Evolution, llm: Anthropic):
    async with performance(database_url, evolution, llm, **PATIENT, **ONE_PLACE) as stage:
        stage.shop.line.breaks()
        waiting = customers(stage, 4)
        await write_in_vain(stage, waiting)
        stage.shop.line.connects()
        for each in waiting:
            await each.answered()
        assert await in_order(stage) == ["C3", "C2", "C1", "C0"]
        assert len(llm.requests) == 4  # what was made is not made again


async def test_without_a_word_of_the_line_the_first_send_that_works_lets_the_others_go(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with performance(database_url, evolution, llm, **PATIENT, **ONE_PLACE) as stage:
        stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
        waiting = customers(stage, 4)
        await write_in_vain(stage, waiting)
        stage.shop.heal()
        await stage.maria.writes("oi")
        for each in (stage.maria, *waiting):
            await each.answered()
        assert await in_order(stage) == ["Maria", "C3", "C2", "C1", "C0"]


@pytest.mark.parametrize("away", ["llm", "line"])
async def test_another_router_with_a_free_place_hears_of_it(
    database_url: str, evolution: Evolution, llm: Anthropic, away: str
):
    patient: dict[str, Any] = {**PATIENT, **ONE_PLACE}
    async with (
        performance(database_url, evolution, llm, **patient) as stage,
        running_router(environment(database_url, ANTHROPIC_BASE_URL=llm.url, **patient)),
        AsyncExitStack() as held,
    ):
        if away == "llm":
            llm.fail(llm.broken(), times=None)
        else:
            stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=None)
        waiting = customers(stage, 4)
        await write_in_vain(stage, waiting)
        llm.heal()
        stage.shop.heal()
        gate = stage.shop.hold("sendText")
        held.callback(gate.open)
        await stage.maria.writes("oi")
        if away == "line":
            await gate.reached()
            stage.shop.line.connects()  # as Evolution tells, now and then, of what it is
        await gate.reached(2)  # one of each router, for each has one place
        gate.open()
        for each in (stage.maria, *waiting):
            await each.answered()
        assert [len(each.replies) for each in (stage.maria, *waiting)] == [1] * 5


@pytest.mark.parametrize(
    ("fault", "kind", "attempt"),
    [
        ("broken", "away", 0),
        ("overloaded", "away", 0),
        ("rate_limited", "away", 0),
        ("cuts_connection", "away", 0),
        ("never_answers", "away", 0),
        ("bad_key", "away", 0),
        ("no_credit", "away", 0),
        ("no_such_model", "permanent", 1),
        ("empty", "transient", 1),
    ],
)
async def test_an_llm_that_is_away_is_told_from_one_that_has_answered(
    database_url: str, evolution: Evolution, llm: Anthropic, fault: str, kind: str, attempt: int
):
    quick = {**PATIENT, "LLM_TIMEOUT": "1"}
    async with performance(database_url, evolution, llm, **quick) as stage:
        if fault == "empty":
            llm.answers_always(empty())
        else:
            llm.fail(getattr(llm, fault)(), times=None)
        await stage.maria.writes("oi")
        query = "select attempt, error_kind from turns"
        (turn,) = await stage.until(query, lambda turns: turns[0]["error_kind"] is not None)
        assert (turn["error_kind"], turn["attempt"]) == (kind, attempt)


async def test_a_question_that_is_too_much_for_an_llm_that_answers_others_uses_up_attempts(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    quick = {**PATIENT, "LLM_TIMEOUT": "3"}
    async with performance(database_url, evolution, llm, **quick) as stage:
        llm.fail(llm.never_answers())
        await stage.maria.writes("oi")
        await stage.until("select state from turns", lambda turns: bool(llm.requests))
        (other,) = customers(stage, 1)
        await other.writes("oi")
        await other.answered()
        (turn,) = await stage.until(
            "select attempt, error_kind from turns order by id limit 1",
            lambda turns: turns[0]["error_kind"] is not None,
        )
        assert turn == {"attempt": 1, "error_kind": "transient"}


async def test_an_llm_that_stays_away_leaves_turns_that_are_too_old_and_can_be_retried(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with performance(database_url, evolution, llm, POLL_SECONDS="0.2") as stage:
        llm.fail(llm.broken(), times=None)
        await stage.maria.writes("tem bolo?")
        await stage.until(PUT_OFF, bool)
        await stage.time_passes(hours=5)
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["reason"]) == ("dead", "too_old")
        llm.heal()
        path = f"/api/turns/retry?tenant_id={stage.tenant_id}"
        assert (await stage.post(path, json={"reason": "too_old"}))["retried"] == 1
        await stage.maria.answered()
