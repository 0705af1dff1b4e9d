"""The judge of the fault harness notices each kind of broken promise, and nothing else."""

from dataclasses import replace

import pytest

from benchmarks.faults.history import (
    Call,
    Change,
    History,
    HumanMessage,
    PhoneReply,
    Row,
    SaidMessage,
    SessionRow,
    TurnRow,
)
from benchmarks.faults.judge import judge

BODY = "R000001.1/1 S3 para Q00007.1 fim."


def answered() -> History:
    """One message, one reply, everything as it should be."""
    return History(
        number=7,
        tenant=3,
        bound=6.0,
        said=[SaidMessage("Q00007.1", "AC1", at=100.0, acked_at=100.1)],
        phone=[PhoneReply("3EB01", BODY, arrived=101.0, at=101.1)],
        rows=[
            Row(1, 10, 5, "AC1", False, "contact", "Q00007.1 oi?", None, None),
            Row(2, 10, 5, "3EB01", True, "ai", BODY, "sent", 0),
        ],
        turns=[TurnRow(5, 10, "sent", None, None)],
        sessions=[SessionRow(10, False, None)],
        changes=[begun(20, 100.9)],
    )


def begun(seq: int, at: float, *, session: int = 10, body: str = BODY) -> Change:
    return Change(seq, at, "begun", session, {"message_id": 2, "sender": "ai", "body": body})


def human_in(seq: int, at: float, *, session: int = 10, wa_id: str = "ACH") -> Change:
    return Change(seq, at, "human", session, {"wa_id": wa_id, "sender": "owner"})


def paused(seq: int, at: float, *, source: str = "operator", cause: str | None = None) -> Change:
    detail = {"is_paused": True, "begins": True, "source": source, "cause": cause}
    return Change(seq, at, "pause", 10, detail)


def resumed(seq: int, at: float) -> Change:
    detail = {"is_paused": False, "resumed": True, "resume_source": "operator"}
    return Change(seq, at, "pause", 10, detail)


def kinds(history: History) -> list[str]:
    return [offence.kind for offence in judge(history)]


def with_owner(history: History, *, at: float, acked_at: float | None = None) -> History:
    """The owner wrote as well, and it was recorded."""
    return replace(
        history,
        humans=[HumanMessage("ACH", at, acked_at or at + 0.1, "owner")],
        rows=[*history.rows, Row(3, 10, None, "ACH", True, "owner", "eu", None, None)],
    )


def test_an_answered_message_is_no_offence():
    assert judge(answered()) == []


def test_an_acknowledged_message_that_is_not_in_the_database_is_lost():
    assert "lost" in kinds(replace(answered(), rows=answered().rows[1:]))


def test_what_was_never_acknowledged_is_not_lost():
    said = [SaidMessage("Q00007.1", "AC1", at=100.0, acked_at=None)]
    assert kinds(replace(answered(), said=said, rows=answered().rows[1:])) == []


def test_an_acknowledged_deletion_that_did_nothing_is_lost():
    said = [SaidMessage("Q00007.1", "AC1", 100.0, 100.1, deleted=True, delete_acked=True)]
    assert kinds(replace(answered(), said=said)) == ["lost"]


def test_an_acknowledged_edit_that_did_nothing_is_lost():
    said = [SaidMessage("Q00007.1", "AC1", 100.0, 100.1, edit_acked=True)]
    assert kinds(replace(answered(), said=said)) == ["lost"]


def test_the_owners_words_taken_for_the_ais_are_lost():
    history = with_owner(answered(), at=99.0)
    rows = [*history.rows[:2], replace(history.rows[2], sender="ai")]
    assert "lost" in kinds(replace(history, rows=rows, changes=[]))


def test_what_is_on_the_phone_and_unknown_to_the_database_is_lost():
    rows = [answered().rows[0], replace(answered().rows[1], wa_id=None)]
    assert kinds(replace(answered(), rows=rows)) == ["lost"]


def test_a_message_without_a_reply_is_unanswered():
    history = replace(answered(), phone=[], rows=answered().rows[:1])
    assert kinds(history) == ["unanswered"]


@pytest.mark.parametrize("state", ["sent", "cancelled", "dead"])
def test_the_state_of_its_turn_alone_explains_nothing(state: str):
    turns = [TurnRow(5, 10, state, "flow_settled", None)]
    history = replace(answered(), phone=[], rows=answered().rows[:1], turns=turns)
    assert kinds(history) == ["unanswered"]


def test_a_dead_turn_explains_it_where_evolution_refused_for_good():
    turns = [TurnRow(5, 10, "dead", None, "not on WhatsApp")]
    history = replace(
        answered(), phone=[], rows=answered().rows[:1], turns=turns, refused_for_good=True
    )
    assert kinds(history) == []


def test_a_human_who_wrote_after_it_explains_it():
    history = replace(answered(), phone=[], rows=answered().rows[:1], changes=[])
    assert kinds(with_owner(history, at=105.0)) == []


def test_a_human_who_wrote_before_it_does_not_explain_it():
    history = replace(answered(), phone=[], rows=answered().rows[:1], changes=[])
    assert kinds(with_owner(history, at=90.0)) == ["unanswered"]


def test_a_pause_by_rest_explains_it():
    history = replace(
        answered(),
        phone=[],
        rows=answered().rows[:1],
        calls=[Call("pause", 99.0, 99.5)],
        sessions=[SessionRow(10, True, "operator")],
        changes=[paused(1, 99.2)],
    )
    assert kinds(history) == []


def test_a_message_that_its_sender_deleted_needs_no_reply():
    said = [SaidMessage("Q00007.1", "AC1", 100.0, 100.1, deleted=True)]
    assert kinds(replace(answered(), said=said, phone=[], rows=answered().rows[:1])) == []


def test_a_session_that_our_own_message_paused_is_unanswered():
    history = replace(
        answered(),
        sessions=[SessionRow(10, True, "owner")],
        changes=[begun(1, 100.9), paused(2, 102.0, source="owner", cause="3EB01")],
    )
    assert kinds(history) == ["unanswered"]


def test_our_own_message_taken_for_the_owners_is_noticed():
    rows = [answered().rows[0], replace(answered().rows[1], sender="client")]
    assert kinds(replace(answered(), rows=rows)) == ["unanswered"]


def test_a_part_that_is_on_the_phone_twice_is_doubled():
    twice = [*answered().phone, PhoneReply("3EB02", BODY, 104.0, 104.1)]
    rows = [*answered().rows, Row(4, 10, None, "3EB02", True, "ai", BODY, "sent", None)]
    assert kinds(replace(answered(), phone=twice, rows=rows)) == ["doubled"]


def test_one_message_answered_by_two_replies_is_doubled():
    second = BODY.replace("R000001", "R000002")
    twice = [*answered().phone, PhoneReply("3EB02", second, 104.0, 104.1)]
    rows = [*answered().rows, Row(4, 10, 6, "3EB02", True, "ai", second, "sent", 0)]
    assert kinds(replace(answered(), phone=twice, rows=rows)) == ["doubled"]


def test_two_parts_of_one_reply_are_no_double():
    second = BODY.replace(".1/1", ".2/2")
    both = [*answered().phone, PhoneReply("3EB02", second, 104.0, 104.1)]
    rows = [*answered().rows, Row(4, 10, 5, "3EB02", True, "ai", second, "sent", 1)]
    assert kinds(replace(answered(), phone=both, rows=rows)) == []


def test_a_fence_passed_after_the_owner_was_committed_is_over_a_human():
    history = with_owner(answered(), at=99.0)
    assert kinds(replace(history, changes=[human_in(10, 99.1), begun(20, 100.9)])) == [
        "over a human"
    ]


def test_a_fence_passed_before_the_owner_was_committed_is_not():
    history = with_owner(answered(), at=100.5)
    assert kinds(replace(history, changes=[begun(20, 100.9), human_in(21, 100.95)])) == []


def test_a_resume_in_between_lets_the_ai_speak():
    history = with_owner(answered(), at=90.0)
    changes = [human_in(10, 90.1), resumed(11, 95.0), begun(20, 100.9)]
    assert kinds(replace(history, changes=changes)) == []


def test_a_resume_before_the_owner_wrote_does_not():
    history = with_owner(answered(), at=97.0)
    changes = [resumed(9, 95.0), human_in(10, 97.1), begun(20, 100.9)]
    assert kinds(replace(history, changes=changes)) == ["over a human"]


def test_an_owner_who_was_acknowledged_and_never_recorded_as_one_is_talked_over():
    history = with_owner(answered(), at=99.0, acked_at=99.1)
    rows = [*history.rows[:2], replace(history.rows[2], sender="ai")]
    assert kinds(replace(history, rows=rows)) == ["lost", "over a human"]


def test_a_fence_passed_during_a_pause_by_rest_is_over_a_human():
    changes = [paused(10, 99.0), begun(20, 100.9)]
    history = replace(answered(), calls=[Call("pause", 98.9, 99.1)], changes=changes)
    assert kinds(history) == ["over a human"]


def test_the_owner_of_a_session_that_was_not_merged_yet_is_not_talked_over():
    history = with_owner(answered(), at=99.0)
    changes = [human_in(10, 99.1, session=11), begun(20, 100.9)]
    assert kinds(replace(history, changes=changes)) == []
    merge = Change(15, 100.0, "identity", 10, {"jid": "1@lid", "from": 11})
    assert kinds(replace(history, changes=[changes[0], merge, changes[1]])) == ["over a human"]


@pytest.mark.parametrize("state", ["pending", "running", "sending"])
def test_an_open_turn_is_stuck(state: str):
    assert kinds(replace(answered(), turns=[TurnRow(5, 10, state, None, "x")])) == ["stuck"]


@pytest.mark.parametrize("state", ["sending", "unknown"])
def test_a_send_whose_end_nobody_knows_is_stuck(state: str):
    rows = [*answered().rows, Row(4, 10, None, None, True, "ai", "x", state, None)]
    assert kinds(replace(answered(), rows=rows)) == ["stuck"]


def test_a_reply_to_another_conversation_is_mixed():
    body = BODY.replace("Q00007.1", "Q00007.1 Q00008.1")
    history = replace(answered(), phone=[PhoneReply("3EB01", body, 101.0, 101.1)])
    assert kinds(history) == ["mixed"]


def test_a_reply_made_for_another_tenant_is_mixed():
    body = BODY.replace("S3", "S4")
    assert kinds(replace(answered(), phone=[PhoneReply("3EB01", body, 101.0, 101.1)])) == ["mixed"]


def test_what_a_delay_beyond_the_bound_breaks_is_told_apart():
    late = PhoneReply("3EB02", BODY, 101.0, 108.0)
    rows = [*answered().rows, Row(4, 10, None, "3EB02", True, "ai", BODY, "sent", None)]
    (offence,) = judge(replace(answered(), phone=[*answered().phone, late], rows=rows))
    assert (offence.kind, offence.apart) == ("doubled", "beyond")


def test_the_owners_words_taken_for_ours_are_lost_even_while_ours_say_the_same():
    history = with_owner(answered(), at=100.95, acked_at=101.1)
    rows = [*history.rows[:2], replace(history.rows[2], sender="ai")]
    taken = Change(50, 101.0, "send", 10, {"message_id": 2, "state": "sent", "wa_id": "ACH"})
    history = replace(history, rows=rows, changes=[begun(20, 100.9), taken])
    assert ("lost", None) in {(o.kind, o.apart) for o in judge(history)}
