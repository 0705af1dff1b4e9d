"""The same machine, walked by even chance: Hypothesis shrinks well, but seldom walks far."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.properties.test_turn_machine import MARIA, MARIA_LID, TurnMachine

STEPS = 60


class Chance:
    """Draws as Hypothesis's data does, from a seed."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def draw(self, strategy: Any) -> Any:
        return self._random.choice(list(strategy.elements))


def steps_of(walk: TurnMachine, random: Random) -> list[tuple[int, Callable[[], None]]]:
    """What can happen now, each with its weight."""
    chance: Any = Chance(random)
    pick = random.choice
    ways = [(MARIA,), (MARIA_LID,), (MARIA_LID, MARIA)]
    steps: list[tuple[int, Callable[[], None]]] = [
        (6, lambda: walk.customer_writes(way=pick(ways), ago=pick([0, 0, 5, 40]))),
        (1, walk.operator_pauses),
        (2, walk.operator_resumes),
        (4, lambda: walk.time_passes(seconds=pick([1, 3, 11, 61]))),
        (5, walk.claim),
        (
            5,
            lambda: walk.an_attempt_ends_at_its_first_part(
                parts=pick([1, 2]), how=pick(["refused", "lost", "taken"])
            ),
        ),
    ]
    if walk.humans:
        steps += [
            (1, lambda: walk.owner_writes(way=pick(ways))),
            (1, lambda: walk.operator_writes(how=pick(["answer", "fail", "crash"]))),
            (1, walk.pauses_run_out),
        ]
    if walk.attempts:
        steps += [
            (4, lambda: walk.write_reply(data=chance, parts=pick([1, 2, 3]))),
            (
                8,
                lambda: walk.begin_send(
                    data=chance, part=pick([0, 0, 1, 2]), leaves=pick([True, False])
                ),
            ),
            (4, lambda: walk.settle(data=chance)),
            (1, lambda: walk.begin_anew(data=chance)),
            (1, walk.heart_beats),
            (1, lambda: walk.llm_fails(data=chance, kind=pick(["transient", "permanent"]))),
            (1, lambda: walk.router_stops(data=chance)),
        ]
    if walk.in_flight:
        ends = ["answer", "echo", "doubt", "fail", "crash"]
        steps.append((8, lambda: walk.send_ends(data=chance, how=pick(ends))))
    return steps


@pytest.mark.parametrize("seed", range(60))
def test_a_walk_breaks_nothing_and_ends_with_everybody_answered(seed: int, database_url: str):
    TurnMachine.url = database_url
    TurnMachine.loop = asyncio.new_event_loop()
    random = Random(seed)
    try:
        walk = TurnMachine()
        walk.people_are_there(humans=seed % 2 == 0)
        for _ in range(STEPS):
            weights, steps = zip(*steps_of(walk, random), strict=True)
            random.choices(steps, weights)[0]()
            walk.no_part_is_on_the_phone_twice()
            walk.a_paused_session_is_about_to_say_nothing()
        walk.no_message_is_lost()
        walk.teardown()
    finally:
        TurnMachine.loop.close()
