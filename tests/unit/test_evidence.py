"""Judging a send whose answer was lost by what Evolution has stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from router.sending.evidence import Chat, Doubt, Finding, judge_sends
from router.sending.outgoing import Outgoing
from tests.fixtures.sends import PNG, SENDS, Came, Send
from tests.for_each import for_each

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


def doubt(message: Outgoing, chosen_id: str | None = None, at: int = 0) -> Doubt:
    return Doubt(
        message.kind, message.text, BEGAN + timedelta(seconds=at), message.told_as, chosen_id
    )


def judge_all(
    doubts: list[Doubt],
    *records: dict[str, Any],
    after: float = 60,
    ours: tuple[str, ...] = (),
    complete: bool = True,
) -> tuple[Finding, ...]:
    chat = Chat(records, frozenset(ours), frozenset({QUESTION}), complete)
    return judge_sends(doubts, chat, BEGAN + timedelta(seconds=after), SETTLE)


def judge(
    *records: dict[str, Any], after: float = 60, ours: tuple[str, ...] = (), body: str = REPLY
) -> Finding:
    (finding,) = judge_all([doubt(Outgoing.plain(body))], *records, after=after, ours=ours)
    return finding


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


ON_A_PHONE = pytest.mark.parametrize(
    "wa_id",
    ["AC" + "0F" * 15, "3A" + "0F" * 9, "3F" + "0F" * 9],
    ids=["android", "ios", "desktop"],
)


@ON_A_PHONE
def test_what_was_typed_on_a_phone_is_never_ours_though_it_says_the_same(wa_id: str) -> None:
    by_hand = record(wa_id, REPLY, at=1)
    assert judge(by_hand, ASKED).outcome == "not_sent"
    edited = {"message": None, "MessageUpdate": [{"status": "EDITED"}]}
    assert judge(by_hand | edited, ASKED).outcome == "not_sent"
    assert judge_all([Doubt("text", REPLY, BEGAN)], by_hand, ASKED)[0].outcome == "not_sent"


@ON_A_PHONE
def test_unless_we_chose_such_an_id(wa_id: str) -> None:
    (finding,) = judge_all([doubt(Outgoing.plain(REPLY), wa_id)], record(wa_id, REPLY))
    assert finding.outcome == "sent"


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


@for_each(
    ("send", "came"),
    [pytest.param(s, c, id=f"{s.name} {n}") for s in SENDS for n, c in enumerate(s.came)],
)
def test_every_kind_of_send_is_found_as_its_channel_stores_it(send: Send, came: Came) -> None:
    stored = record(came.wa_id, "") | {"message": came.message, "messageType": came.type}
    (finding,) = judge_all([doubt(Outgoing.of(send.path, send.body))], stored, ASKED)
    assert finding == Finding("sent", wa_id=came.wa_id)


def picture(wa_id: str, at: int = 0) -> dict[str, Any]:
    shown = {"message": {"imageMessage": {"caption": ""}}, "messageType": "imageMessage"}
    return record(wa_id, "", at=at) | shown


def test_three_pictures_without_a_caption_take_a_record_each() -> None:
    message = Outgoing.of("message/sendMedia", {"mediatype": "image", "media": PNG})
    doubts = [doubt(message, at=number) for number in range(3)]
    stored = [picture("3EB003", at=2), picture("3EB001", at=0), picture("3EB001", at=0)]
    findings = judge_all(doubts, *stored, ASKED)
    assert [(f.outcome, f.wa_id) for f in findings] == [
        ("sent", "3EB001"),
        ("sent", "3EB003"),
        ("not_sent", None),
    ]


def test_a_picture_that_is_accounted_for_is_no_other_one() -> None:
    message = Outgoing.of("message/sendMedia", {"mediatype": "image", "media": PNG})
    (finding,) = judge_all([doubt(message)], picture("3EB001"), ours=("3EB001",))
    assert finding.outcome == "not_sent"


def test_words_in_brackets_typed_by_hand_are_no_picture() -> None:
    message = Outgoing.of("message/sendMedia", {"mediatype": "image", "media": PNG})
    (finding,) = judge_all([doubt(message)], record("3EB001", "[image]"), ASKED)
    assert finding.outcome == "not_sent"


def test_the_id_that_was_asked_for_is_proof_whatever_it_says_by_now() -> None:
    edited = record("3EB0AA", "the owner put it otherwise", at=-900)
    (finding,) = judge_all([doubt(Outgoing.plain(REPLY), "3EB0AA")], edited, after=1)
    assert finding == Finding("sent", wa_id="3EB0AA")


def test_the_id_that_one_asked_for_is_not_taken_by_another_with_the_same_words() -> None:
    doubts = [doubt(Outgoing.plain("Ok."), "3EB0A1"), doubt(Outgoing.plain("Ok."), "3EB0A2", at=1)]
    findings = judge_all(doubts, record("3EB0A2", "Ok."), ASKED)
    assert [f.outcome for f in findings] == ["not_sent", "sent"]


@pytest.mark.parametrize(
    "change",
    [
        {"message": None, "MessageUpdate": [{"status": "EDITED"}, {"status": "DELETED"}]},
        {"message": {"conversation": "corrected"}, "MessageUpdate": [{"status": "EDITED"}]},
    ],
    ids=["deleted", "edited"],
)
def test_what_was_changed_on_the_phone_since_is_not_sent_again(change: dict[str, Any]) -> None:
    assert judge(record("3EB001", REPLY, at=40) | change, ASKED).outcome == "sent"
    assert judge(record("3EB001", REPLY, at=-600) | change, ASKED).outcome == "not_sent"


def test_more_messages_than_are_looked_through_prove_nothing() -> None:
    doubts = [doubt(Outgoing.plain(REPLY))]
    assert judge_all(doubts, ASKED, complete=False)[0].outcome == "unknown"


def test_a_message_of_ours_shows_as_well_that_the_chat_is_stored() -> None:
    assert judge(record("3EB000", "Bom dia!", at=-60), ours=("3EB000",)).outcome == "not_sent"


def test_one_that_was_recorded_without_keys_is_known_by_its_words() -> None:
    plain = Doubt("text", REPLY, BEGAN)
    assert judge_all([plain], record("3EB001", REPLY))[0].outcome == "sent"
    assert judge_all([plain], record("wamid.HBg1", REPLY))[0].outcome == "sent"


def test_a_large_send_may_show_up_later() -> None:
    """Its upload takes longer: while it may still be going, it is not missing."""
    large = replace(doubt(Outgoing.plain(REPLY)), upload=42.0)
    for after, outcome in ((46, "unknown"), (86, "unknown"), (88, "not_sent")):
        assert judge_all([large], ASKED, after=after)[0].outcome == outcome
    found = judge_all([doubt(Outgoing.plain(REPLY)), large], ASKED, after=46)
    assert tuple(each.outcome for each in found) == ("not_sent", "unknown")
