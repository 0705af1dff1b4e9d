"""The story of a message as steps: what happened, what happens now, and why it ended."""

from typing import Any

import pytest

from router.console.steps import Step, seconds_passed, steps_of


def at(seconds: float, kind: str, **facts: Any) -> dict[str, Any]:
    return {"at": f"2026-11-26T12:00:{seconds:06.3f}+00:00", "kind": kind, **facts}


CAME = [at(1, "message"), at(1.01, "judged", decision="turn_pending"), at(1.01, "turn_made")]
CLAIMED = [*CAME, at(3.01, "claimed", attempt=1)]
SENT = [*CLAIMED, at(6, "handled"), at(6.1, "send"), at(6.2, "attempt_ended"), at(6.2, "closed")]
ENDED = [*CLAIMED, at(5, "human_wrote"), at(5, "paused"), at(6.1, "closed")]


def marks(steps: list[Step]) -> str:
    return " ".join(f"{step.name}:{step.mark}" for step in steps)


def turn(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "reason": None, "stop_reason": None, **more}


@pytest.mark.parametrize(
    ("told", "happenings", "shown"),
    [
        (None, [], ""),
        (None, CAME[:1], "received:done judged:now waited:todo writes:todo fence:todo sent:todo"),
        (
            turn("pending"),
            CAME,
            "received:done judged:done waited:now writes:todo fence:todo sent:todo",
        ),
        (
            turn("running"),
            CLAIMED,
            "received:done judged:done waited:done writes:now fence:todo sent:todo",
        ),
        (
            turn("sent"),
            SENT,
            "received:done judged:done waited:done writes:done fence:done sent:done",
        ),
        (
            turn("cancelled", reason="paused"),
            ENDED,
            "received:done judged:done waited:done began:done human:human fence:shut",
        ),
        (turn("dead", reason="too_old"), [*CAME, at(9, "closed")],
         "received:done judged:done ended:shut"),
        (None, [at(1, "message"), at(1.01, "judged", decision="paused")],
         "received:done judged:shut"),
    ],
)  # fmt: skip
def test_a_story_is_told_in_steps(told: Any, happenings: list[dict[str, Any]], shown: str):
    assert marks(steps_of(told, happenings)) == shown


def test_each_step_says_when_it_was_and_the_last_one_why_it_ended():
    steps = {step.name: step for step in steps_of(turn("cancelled", reason="paused"), ENDED)}
    assert steps["waited"].seconds == 2.01
    assert (steps["human"].seconds, steps["fence"].seconds) == (4.0, 5.1)
    assert steps["fence"].reason == "paused"


def test_what_is_not_answered_says_what_was_met_and_blames_no_fence():
    met = at(3.2, "attempt_ended", outcome="dead", error="anthropic answered 404: no such model")
    dead = steps_of(turn("dead"), [*CLAIMED, met, at(3.2, "closed")])
    assert marks(dead) == "received:done judged:done waited:done began:done ended:shut"
    assert (dead[-1].seconds, dead[-1].error) == (2.2, "anthropic answered 404: no such model")

    met = at(3.2, "attempt_ended", outcome="put_off", error="anthropic answered 401: invalid key")
    away = steps_of(turn("pending", waits_for="llm anthropic"), [*CLAIMED, met])
    assert [(step.name, step.error) for step in away if step.mark == "now"] == [
        ("writes", "anthropic answered 401: invalid key")
    ]


def test_that_an_answer_was_lost_is_said_of_what_was_sent_all_the_same():
    doubted = [*SENT[:-2], at(6.2, "attempt_ended", outcome="in_doubt"), at(6.3, "closed")]
    assert steps_of(turn("sent"), doubted)[-1] == Step("sent", "done", 5.3, "in_doubt")
    assert steps_of(turn("sent"), SENT)[-1].reason is None
    assert steps_of(turn("sending"), doubted[:-1])[-1].reason is None


def test_how_long_ago_the_message_came_is_told_by_the_states_clock():
    now = "2026-11-26T12:00:04.500+00:00"
    assert seconds_passed(CAME, now) == 3.5
    assert seconds_passed([], now) is None


def test_clocks_that_differ_make_no_time_before_the_beginning():
    early = [at(1, "message"), at(0.5, "judged", decision="turn_pending")]
    assert steps_of(turn("pending"), early)[1].seconds == 0.0
