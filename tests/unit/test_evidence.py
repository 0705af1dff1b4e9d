"""Judging a send whose answer was lost by what Evolution has stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from router.turns.evidence import Finding, judge_send

BEGAN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTLE = timedelta(seconds=45)
JID = "5511988880001@s.whatsapp.net"
QUESTION = "3A00000000000001"
REPLY = "Olá! Sim, temos."


def record(
    wa_id: str,
    text: str,
    *,
    from_me: bool = True,
    at: int = 0,
    extended: bool = False,
) -> dict[str, Any]:
    """A message as findMessages lists it; `at` in seconds after the send began."""
    message = {"extendedTextMessage": {"text": text}} if extended else {"conversation": text}
    return {
        "id": "clx0001",
        "key": {"remoteJid": JID, "fromMe": from_me, "id": wa_id},
        "message": message,
        "messageTimestamp": int(BEGAN.timestamp()) + at,
        "MessageUpdate": [],
    }


ASKED = record(QUESTION, "Tem pão?", from_me=False, at=-5)


def judge(
    *records: dict[str, Any], after: float = 60, ours: tuple[str, ...] = (), body: str = REPLY
) -> Finding:
    return judge_send(
        body,
        BEGAN,
        records,
        ours=ours,
        theirs={QUESTION},
        now=BEGAN + timedelta(seconds=after),
        settle_after=SETTLE,
    )


def test_a_message_that_is_listed_was_sent() -> None:
    assert judge(record("3EB001", REPLY), ASKED) == Finding("sent", wa_id="3EB001")


@pytest.mark.parametrize("after", [0, 1, 44, 46, 3600])
def test_it_was_sent_however_early_or_late_one_looks(after: float) -> None:
    assert judge(record("3EB001", REPLY), after=after).outcome == "sent"


def test_a_text_with_a_preview_is_found_too() -> None:
    assert judge(record("3EB001", REPLY, extended=True)).wa_id == "3EB001"


def test_space_does_not_make_another_text() -> None:
    assert judge(record("3EB001", "Olá! Sim,\n temos. ")).outcome == "sent"


def test_before_the_time_to_settle_its_absence_says_nothing() -> None:
    assert judge(ASKED, after=44).outcome == "unknown"


def test_afterwards_its_absence_beside_the_customers_message_shows_it_was_not_sent() -> None:
    assert judge(ASKED, after=45).outcome == "not_sent"


def test_a_store_that_keeps_nothing_proves_nothing() -> None:
    finding = judge(after=3600)
    assert finding.outcome == "unknown"
    assert "SAVE_DATA_NEW_MESSAGE" in finding.detail


def test_a_list_without_this_customers_message_proves_nothing() -> None:
    assert judge(record("3A99", "Outra conversa", from_me=False)).outcome == "unknown"


@pytest.mark.parametrize(
    "other",
    [
        record("3EB001", "Outro texto"),
        record("3A01", REPLY, from_me=False),
        record("", REPLY),
        record("3EB001", REPLY, at=-600),
    ],
    ids=["another text", "the customer's", "without an id", "long before"],
)
def test_another_message_is_not_taken_for_it(other: dict[str, Any]) -> None:
    assert judge(other, ASKED).outcome == "not_sent"


def test_the_same_text_twice_is_told_apart_by_the_ids_that_are_accounted_for() -> None:
    twice = (record("3EB001", "Ok."), record("3EB002", "Ok.", at=1), ASKED)
    assert judge(*twice, body="Ok.", ours=("3EB001",)).wa_id == "3EB002"
    assert judge(*twice, body="Ok.", ours=("3EB001", "3EB002")).outcome == "not_sent"


@pytest.mark.parametrize(
    "stamp",
    [
        str(int(BEGAN.timestamp())),
        int(BEGAN.timestamp()) * 1000,
        {"low": int(BEGAN.timestamp()), "high": 0, "unsigned": True},
    ],
    ids=["text", "milliseconds", "long"],
)
def test_the_time_is_read_in_every_form(stamp: Any) -> None:
    assert judge(record("3EB001", REPLY) | {"messageTimestamp": stamp}).outcome == "sent"


def test_the_same_text_without_a_time_leaves_it_unknown() -> None:
    undated = record("3EB001", REPLY) | {"messageTimestamp": None}
    assert judge(undated, ASKED).outcome == "unknown"
    assert judge(undated, record("3EB002", REPLY)).wa_id == "3EB002"


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"key": None, "message": None},
        {"key": "3EB0", "message": "x"},
        {"key": {"fromMe": True, "id": 7}, "message": {"conversation": 7}},
    ],
)
def test_odd_records_are_passed_over(odd: dict[str, Any]) -> None:
    assert judge(odd, ASKED).outcome == "not_sent"
