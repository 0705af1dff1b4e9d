"""Summarises a message's story in a few steps for people, from the facts of `tell_turn`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

Name = Literal["received", "judged", "waited", "began", "writes", "human", "fence", "sent", "ended"]
Mark = Literal["done", "now", "todo", "human", "shut"]
_ORDER: tuple[Name, ...] = ("received", "judged", "waited", "writes", "fence", "sent")
_ANSWERED = "turn_pending"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, `seconds` after the message arrived; `reason` says why or how the story ended.

    `error` is the text of the error, if there was one.
    """

    name: Name
    mark: Mark
    seconds: float | None = None
    reason: str | None = None
    error: str | None = None


def steps_of(turn: Mapping[str, Any] | None, happenings: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return the steps of a message's story, including those to come."""
    began = _first(happenings, "message")
    if began is None:
        return []
    done = {"received": 0.0}
    judged = _first(happenings, "judged")
    if judged is not None:
        done["judged"] = _since(began, judged)
    if turn is None:
        return _unanswered(done, judged)
    for name, kind in (("waited", "claimed"), ("writes", "send"), ("fence", "send")):
        if (found := _first(happenings, kind)) is not None:
            done[name] = _since(began, found)
    if turn["state"] == "sent":
        done["sent"] = _since(began, _first(happenings, "closed") or began)
    if turn["state"] == "cancelled":
        return _stopped(done, began, turn, happenings)
    if turn["state"] == "dead":
        return _gave_up(done, began, turn, happenings)
    steps = _under_way(done, None if turn.get("waits_for") is None else _last_error(happenings))
    if "sent" in done and _was_in_doubt(happenings):
        steps[-1] = replace(steps[-1], reason="in_doubt")
    return steps


def seconds_passed(happenings: Sequence[Mapping[str, Any]], now: str) -> float | None:
    """Return how many seconds ago the message arrived, or None if that is unknown."""
    began = _first(happenings, "message")
    return None if began is None else _since(began, {"at": now})


def _unanswered(done: Mapping[str, float], judged: Mapping[str, Any] | None) -> list[Step]:
    """Return the steps of a message that gets no answer of its own."""
    if judged is None or judged.get("decision") == _ANSWERED:
        return _under_way(done)
    reason = str(judged.get("decision"))
    return [Step("received", "done", 0.0), Step("judged", "shut", done["judged"], reason)]


def _under_way(done: Mapping[str, float], error: str | None = None) -> list[Step]:
    """Return all steps; `error` says why the current step takes so long."""
    to_come = [name for name in _ORDER if name not in done]
    now = to_come[0] if to_come else None
    return [
        Step(name, "done", done[name])
        if name in done
        else Step(name, "now", error=error)
        if name == now
        else Step(name, "todo")
        for name in _ORDER
    ]


def _stopped(
    done: Mapping[str, float],
    began: Mapping[str, Any],
    turn: Mapping[str, Any],
    happenings: Sequence[Mapping[str, Any]],
) -> list[Step]:
    """Return the steps until the turn was stopped, and why nothing more was sent."""
    steps = _up_to_the_end(done)
    if (human := _first(happenings, "human_wrote")) is not None:
        steps.append(Step("human", "human", _since(began, human)))
    reason = turn.get("stop_reason") or turn.get("reason")
    return [*steps, Step("fence", "shut", _closed_at(began, happenings), reason)]


def _gave_up(
    done: Mapping[str, float],
    began: Mapping[str, Any],
    turn: Mapping[str, Any],
    happenings: Sequence[Mapping[str, Any]],
) -> list[Step]:
    """Return the steps until the turn was given up, which no fence has caused."""
    at, error = _closed_at(began, happenings), _last_error(happenings)
    return [*_up_to_the_end(done), Step("ended", "shut", at, turn.get("reason"), error)]


def _up_to_the_end(done: Mapping[str, float]) -> list[Step]:
    steps = [Step(name, "done", done[name]) for name in _ORDER if name in done and name != "fence"]
    if "waited" in done and "writes" not in done:  # the reply was being made, and was thrown away
        steps.append(Step("began", "done", done["waited"]))
    return steps


def _closed_at(began: Mapping[str, Any], happenings: Sequence[Mapping[str, Any]]) -> float | None:
    closed = _first(happenings, "closed")
    return None if closed is None else _since(began, closed)


def _last_error(happenings: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the error of the last attempt that ended."""
    ended = [each for each in happenings if each["kind"] == "attempt_ended"]
    return ended[-1].get("error") if ended else None


def _was_in_doubt(happenings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a send was in doubt for a while."""
    return any(
        each["kind"] == "attempt_ended" and each.get("outcome") == "in_doubt" for each in happenings
    )


def _first(happenings: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((each for each in happenings if each["kind"] == kind), None)


def _since(began: Mapping[str, Any], later: Mapping[str, Any]) -> float:
    passed = datetime.fromisoformat(later["at"]) - datetime.fromisoformat(began["at"])
    return max(0.0, round(passed.total_seconds(), 2))
