"""A human's pause never gets shorter or weaker, whatever else is learnt of the conversation."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, held

FOR_EVER = datetime.max.replace(tzinfo=UTC)


async def _ends(talk: Conversation, jid: str) -> datetime | None:
    """When the pause under this identity ends; null: there is none."""
    session = await talk.session(jid)
    if not session["is_paused"]:
        return None
    if session["pause_indefinite"]:
        return FOR_EVER
    at: datetime = await talk.value(
        "select hybridflow.pause_ends_at(s, null, $2) from sessions as s where s.id = $1",
        session["id"],
        '{"resume_after_hours": 2}',
    )
    return at


NEVER = datetime.max.replace(tzinfo=UTC)


async def ends(talk: Conversation, jid: str) -> datetime | None:
    """When its pause ends by itself; where a handoff waits there, never."""
    session = await talk.session(jid)
    waits = await talk.value("select hybridflow.has_waiting_handoff($1)", session["id"])
    return NEVER if waits else await _ends(talk, jid)


async def pause(talk: Conversation, jid: str, **how: Any) -> None:
    session = await talk.session(jid)
    await talk.database.call(
        "pause_session",
        {"tenant_id": 1, "session_id": session["id"], "source": "operator", **how},
    )


async def until_soon(talk: Conversation, jid: str) -> None:
    await pause(talk, jid, until=(talk.now() + timedelta(minutes=5)).isoformat())


async def until_next_week(talk: Conversation, jid: str) -> None:
    await pause(talk, jid, until=(talk.now() + timedelta(days=7)).isoformat())


async def without_end(talk: Conversation, jid: str) -> None:
    await pause(talk, jid)


async def for_ever(talk: Conversation, jid: str) -> None:
    await pause(talk, jid, indefinite=True)


async def owner(talk: Conversation, jid: str) -> None:
    assert (await talk.owner_writes("deixa comigo", jids=[jid]))["decision"] == "takeover"


async def operator_writes(talk: Conversation, jid: str) -> None:
    session = await talk.session(jid)
    begun = await talk.database.call(
        "begin_human_send",
        {"tenant_id": 1, "session_id": session["id"], "body": "Sou a Ana", "knowingly": True},
    )
    assert begun["ok"]


async def handoff(talk: Conversation, jid: str) -> None:
    """As hand_off does, also of a session that is paused: its turn may be leaving still."""
    session = await talk.session(jid)
    await talk.sql(
        "select hybridflow.pause_for_human(s, 'asked', null) from sessions as s where s.id = $1",
        session["id"],
    )


async def nothing(talk: Conversation, jid: str) -> None:
    pass


Pause = Callable[[Conversation, str], Awaitable[None]]
PAUSES: list[Pause] = [
    nothing,
    until_soon,
    until_next_week,
    without_end,
    for_ever,
    owner,
    operator_writes,
    handoff,
]


def later(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def lasts(end: datetime | None, wanted: datetime | None) -> bool:
    # The two were asked for one after the other, in real time; what differs does by 5 seconds.
    return wanted is None or (end is not None and end > wanted - timedelta(seconds=4))


def person(number: int) -> tuple[str, str]:
    """Somebody's phone and LID."""
    return f"55119555{number:05}@s.whatsapp.net", f"2019555500{number:05}@lid"


async def two_chats(talk: Conversation, *jids: str) -> None:
    """Somebody writes by phone, and by LID: nobody knows yet that both are the same."""
    for jid in jids:
        await talk.maria_writes("oi", jids=[jid])


async def turns_out_to_be_one(talk: Conversation, phone: str = MARIA, lid: str = MARIA_LID) -> None:
    await talk.ingest(talk.message("sou eu", jids=[lid, phone]))
    assert (await talk.session(phone))["id"] == (await talk.session(lid))["id"]


@pytest.mark.parametrize("older", [0, 1], ids=["phone first", "lid first"])
async def test_a_merged_pause_lasts_as_long_as_the_longer_one(talk: Conversation, older: int):
    wrong = []
    for number, (first, second) in enumerate(product(PAUSES, repeat=2)):
        phone, lid = person(number)
        await two_chats(talk, *(person(number) if older == 0 else (lid, phone)))
        await first(talk, phone)
        await talk.travel(seconds=60)
        await second(talk, lid)
        wanted = later(await ends(talk, phone), await ends(talk, lid))
        await turns_out_to_be_one(talk, phone, lid)
        if await ends(talk, phone) != wanted:
            wrong.append((first.__name__, second.__name__))
    assert wrong == []


async def test_what_comes_on_top_of_a_pause_makes_it_no_shorter(talk: Conversation):
    """But an operator who says until when changes what operators, or the AI, asked for."""
    wrong = []
    for number, (first, second) in enumerate(product(PAUSES[1:], repeat=2)):
        if first is handoff and second not in (nothing, handoff):
            continue  # a person takes it: from then on it is theirs, and ends as theirs do
        phone, _ = person(number)
        await talk.maria_writes("oi", jids=[phone])
        await first(talk, phone)
        before = await ends(talk, phone)
        await talk.travel(seconds=60)
        await second(talk, phone)
        after = await ends(talk, phone)
        if second in (until_soon, until_next_week) and first not in (owner, operator_writes):
            before = (await talk.session(phone))["paused_until"]
        if not lasts(after, before):
            wrong.append((first.__name__, second.__name__))
    assert wrong == []


async def echo_taken_for_the_owners(
    talk: Conversation, jid: str = MARIA, wa_id: str = "3EB0ECHO"
) -> tuple[Json, Json]:
    turn = next(t for t in await talk.claim() if jid in t["session"]["jids"])
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    said = await talk.owner_writes("Olá, alterado", wa_id=wa_id, jids=[jid])
    assert said["decision"] == "takeover"
    return turn, begun


@pytest.mark.parametrize("merge", ["before", "after", "never"])
@pytest.mark.parametrize("place", ["same chat", "other chat before it", "other chat after it"])
async def test_what_was_no_humans_message_takes_back_its_own_pause_alone(
    talk: Conversation, place: str, merge: str
):
    wrong = []
    for number, other in enumerate(PAUSES):
        phone, lid = person(number)
        beside, _ = person(1000 + number)  # who has the other pause alone
        where = phone if place == "same chat" else lid
        await two_chats(talk, phone, lid, beside)
        await talk.travel(seconds=11)
        if place.endswith("before it"):
            await other(talk, where)
            await other(talk, beside)
            await talk.travel(seconds=5)
        turn, begun = await echo_taken_for_the_owners(talk, phone, f"3EB0ECHO{number}")
        await talk.travel(seconds=5)
        if merge == "before":
            await turns_out_to_be_one(talk, phone, lid)
        if not place.endswith("before it"):
            await other(talk, where)
            await other(talk, beside)
        await talk.finish(turn, begun, f"3EB0ECHO{number}", jid=phone)
        if merge == "after":
            await turns_out_to_be_one(talk, phone, lid)
        end, wanted = await ends(talk, where), await ends(talk, beside)
        if not lasts(end, wanted) or (wanted is None and end is not None):
            wrong.append((other.__name__, end, wanted))
    assert wrong == []


async def test_an_older_pause_is_what_is_left_of_two_when_one_was_none(talk: Conversation):
    """The owner paused the one chat; in the other, an echo was taken for a message of the owner."""
    await two_chats(talk, MARIA, MARIA_LID)
    await talk.travel(seconds=11)
    await owner(talk, MARIA_LID)
    await talk.travel(minutes=10)
    turn, begun = await echo_taken_for_the_owners(talk, MARIA)
    await turns_out_to_be_one(talk)
    await talk.finish(turn, begun, "3EB0ECHO")
    assert (await talk.maria_writes("alô?"))["decision"] == "paused"


@pytest.mark.parametrize("older", [MARIA, MARIA_LID], ids=["phone first", "lid first"])
async def test_an_operators_resume_of_one_chat_is_not_the_crons_of_the_other(
    talk: Conversation, older: str
):
    await two_chats(talk, older, MARIA if older == MARIA_LID else MARIA_LID)
    await without_end(talk, MARIA)
    who = {"tenant_id": 1, "session_id": (await talk.session())["id"], "source": "operator"}
    await talk.database.call("resume_session", {**who, "policy": POLICY})
    await talk.travel(hours=3)
    await owner(talk, MARIA_LID)
    await talk.travel(hours=3)
    assert (await talk.maria_writes("oi", jids=[MARIA_LID]))["decision"] == "turn_pending"
    await turns_out_to_be_one(talk)
    session = await talk.session()
    assert session["resume_source"] == "cron"
    assert (await talk.owner_writes("já vai", ago=30))["decision"] == "takeover"


async def test_a_handoff_while_a_part_leaves_keeps_the_operators_pause(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    await talk.begin(turn, "um")
    await until_next_week(talk, MARIA)
    wanted = await ends(talk, MARIA)
    handed = await talk.database.call("hand_off", {**held(turn), "reason": "asked"})
    assert handed.get("ok") or handed.get("refused")
    assert lasts(await ends(talk, MARIA), wanted)


async def test_a_refused_reply_while_a_part_leaves_keeps_the_operators_pause(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    await talk.begin(turn, "um")
    await until_next_week(talk, MARIA)
    wanted = await ends(talk, MARIA)
    await talk.database.call(
        "refuse_reply", {**held(turn), "rule": "forbidden_patterns", "detail": "x"}
    )
    assert lasts(await ends(talk, MARIA), wanted)


async def test_a_pause_of_a_router_of_0_1_0_lasts_as_it_did(talk: Conversation):
    """It has no more than the columns of then, also where it is merged."""
    await two_chats(talk, MARIA, MARIA_LID)
    await talk.sql(
        "update sessions set is_paused = true, pause_source = 'owner',"
        " paused_at = hybridflow.clock(), last_human_at = hybridflow.clock()"
        " where phone_jid is null"
    )
    wanted = await ends(talk, MARIA_LID)
    assert lasts(wanted, talk.now() + timedelta(minutes=119))
    await until_soon(talk, MARIA)
    await turns_out_to_be_one(talk)
    assert await ends(talk, MARIA) == wanted


async def test_what_a_human_stopped_is_not_said_because_another_message_was_none(
    talk: Conversation,
):
    """The owner wrote while a part left; the operator resumed; then an echo was misread."""
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = await talk.begin(turn, "um")
    await talk.owner_writes("deixa comigo")
    who = {"tenant_id": 1, "session_id": (await talk.session())["id"], "source": "operator"}
    await talk.database.call("resume_session", {**who, "policy": POLICY})
    await talk.travel(seconds=20)
    assert (await talk.owner_writes("um, alterado", wa_id="3EB0ECHO"))["decision"] == "takeover"
    await talk.finish(turn, begun, "3EB0ECHO")
    assert not (await talk.session())["is_paused"]
    assert (await talk.begin(turn, "dois", part=1)).get("refused")


async def test_pauses_without_an_end_are_none_that_may_be_over(talk: Conversation):
    """Of an earlier end that they had there is nothing left to be looked at, again and again."""
    for number in range(101):
        contact = f"55119{number:08}@s.whatsapp.net"
        who = {"tenant_id": 1, "jids": [contact], "source": "operator", "policy": POLICY}
        until = (talk.now() + timedelta(hours=1)).isoformat()
        await talk.database.call("pause_contact", {**who, "until": until})
        await talk.database.call("pause_contact", {**who, "indefinite": True})
    await talk.travel(days=2)
    over = await talk.database.call("pauses_over", {"policy": POLICY})
    assert (over["session_ids"], over["more"]) == ([], False)
    assert not (await talk.database.call("auto_resume", {"policy": POLICY}))["more"]


async def test_an_end_does_not_shorten_what_the_owner_asked_for_under_0_1_0(talk: Conversation):
    await talk.owner_writes("deixa comigo")
    await talk.sql("update sessions set pause_written_at = null, pause_asked_at = null")
    until = (talk.now() + timedelta(minutes=5)).isoformat()
    who = {"tenant_id": 1, "jids": [MARIA], "source": "operator", "policy": POLICY}
    paused = (await talk.database.call("pause_contact", {**who, "until": until}))["session"]
    ends = datetime.fromisoformat(paused["pause_ends_at"])
    assert ends > talk.now() + timedelta(hours=1)
