"""Whatever the state may say of a turn has its words."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from router.stories.answer import answer
from router.stories.words import _ENDINGS, DECISIONS, REASONS, says

SCHEMA = Path(__file__).parents[2] / "database" / "schema"


def sql(*names: str) -> str:
    return "\n".join((SCHEMA / name).read_text() for name in names)


def test_every_decision_about_a_message_has_words():
    ingest = (file.name for file in SCHEMA.glob("06[0-4]*.sql"))
    source = sql("0300_pauses.sql", *ingest)
    judged = source[source.index("v_decision text := case") :].split("end;")[0]
    decided = {
        *re.findall(r"'decision', '([a-z_]+)'", source),
        *re.findall(r"\"decision\": \"([a-z_]+)\"", source),
        *re.findall(r"then '([a-z_]+)'", judged),
        *re.findall(r"else '([a-z_]+)'", judged),
        *re.findall(r"v_decision (?:text )?:= '([a-z_]+)'", source),
        *re.findall(r"return '(takeover[a-z_]*)'", source),
    }
    of_the_instance = {"probe", "qrcode_updated", "connection_unchanged", "connection_changed"}
    nothing_is_kept = {"erased"}
    assert len(decided) > 15
    assert decided - of_the_instance - nothing_is_kept == set(DECISIONS)


def test_every_end_of_an_attempt_has_words():
    source = sql("0100_tables.sql")
    words = re.search(r"'attempt_end', array\[(.*?)\]", source, re.DOTALL)
    assert words is not None
    assert set(re.findall(r"'([a-z_]+)'", words[1])) == set(_ENDINGS)


def test_every_reason_of_a_turns_end_has_words():
    source = sql(*(file.name for file in SCHEMA.glob("*.sql")))
    source = re.sub(r"update public\.notices[^;]*;", "", source)  # a notice has reasons of its own
    given = {
        *re.findall(r"(?:close_turn|stop_turn|cancel_turns)\([^;=>]*?, '([a-z_]+)'\)", source),
        *re.findall(r"(?:set|,) reason = '([a-z_]+)'", source),
    }
    assert {"takeover", "budget", "too_old", "flow_died"} <= given
    assert given <= set(REASONS)


@pytest.mark.parametrize("outcome", sorted(_ENDINGS))
def test_an_end_of_which_little_is_known_is_told_all_the_same(outcome: str):
    said = says({"kind": "attempt_ended", "attempt": 1, "outcome": outcome})
    assert "None" not in said
    assert "{" not in said


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "message"},
        {"kind": "judged"},
        {"kind": "send"},
        {"kind": "tick", "wa_id": "3EB0"},
        {"kind": "undelivered"},
        {"kind": "human_wrote"},
        {"kind": "paused"},
        {"kind": "resumed"},
        {"kind": "handled"},
        {"kind": "something_new"},
    ],
)
def test_a_happening_with_few_facts_is_told_all_the_same(facts: dict[str, object]):
    assert says(facts)


def turn(**how: object) -> dict[str, object]:
    whole = {
        "id": 42, "tenant_id": 1, "session_id": 7, "state": "pending", "reason": None,
        "stop_reason": None, "attempt": 0, "handler": None, "incomplete": False, "undelivered": 0,
        "error_kind": None, "error": None, "waits": 0, "waits_for": None, "worker": None,
        "run_after": "2026-01-02T03:04:05+00:00", "lease_until": "2026-01-02T03:04:05+00:00",
        "due_when_heard": None,
    }  # fmt: skip
    return {**whole, **how}


def told(*happenings: Mapping[str, object], **how: object) -> str:
    story = {
        "is_known": True, "turn": turn(**how), "message": None, "session": None,
        "now": "2026-01-02T03:00:00+00:00", "happenings": list(happenings),
    }  # fmt: skip
    return " ".join(answer(story))


def test_a_turn_that_waits_says_for_what():
    away = told(waits_for="llm anthropic", error="LlmAway: 529", error_kind="away")
    assert away.startswith(
        "It waits for the LLM to be back; it is tried again at 2026-01-02 03:04:05."
    )
    assert away.endswith("The last error was: LlmAway: 529 (away)")
    n8n = told(waits_for="llm anthropic", error="N8nAway: 502", error_kind="away")
    assert n8n.startswith("It waits for n8n to be back")
    assert "Evolution, or its line to WhatsApp, to be back" in told(waits_for="line 3")
    refused = "LlmAccountRefused: 401"
    account = told(waits_for="llm anthropic", error=refused, error_kind="away")
    assert account.startswith("It waits for the LLM's account to be put right: its key is refused,")
    aside = told(state="sending", waits_for="line 3")
    assert "then it goes on. It waits for Evolution, or its line to WhatsApp, to be back." in aside
    doubt = told(state="sending", error="EvolutionInDoubt: 503", error_kind="in_doubt")
    assert doubt.startswith("Nobody knows yet whether a part of the reply left; the router looks")
    assert "no router has taken it yet" in told(run_after="2026-01-02T02:00:00+00:00")


def test_a_turn_that_stops_says_why():
    said = told(state="sending", worker="host:1", stop_reason="takeover", attempt=2)
    assert said == (
        "It is being answered now, by host:1 (attempt 2). It stops when the part that is leaving is"
        " settled: a human took over the conversation."
    )


def test_half_an_answer_says_so():
    part = {"kind": "send", "send_state": "sent", "status": "read"}
    assert told(part, state="sent", incomplete=True, reason="takeover") == (
        "It was answered, in one part. Not all of the reply was said: a human took over the"
        " conversation."
    )
    assert (
        told(state="sent", reason="a flow's own words") == "Nothing was said: a flow's own words."
    )


def test_which_budget_is_used_up_is_said():
    error = "the budget is used up: contact_daily_turns"
    assert told(state="cancelled", reason="budget", error_kind="budget", error=error) == (
        f"It got no answer: {error}."
    )
