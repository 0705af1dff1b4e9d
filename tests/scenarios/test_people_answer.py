"""People of the business answer: operators over the API, the staff by quoting a notice."""

import asyncio
import base64

import pytest

from loopback.evolution import contents, failures
from tests.scenarios.people import ANA, Desk, Staff, quoting
from tests.scenarios.stage import BOTH_HANDLERS, Stage

pytestmark = BOTH_HANDLERS

PICTURE = b"\xff\xd8\xff" + b"a picture of a cake" * 20


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return Desk(stage)


# Over the API


async def test_an_operator_takes_over_and_what_they_write_is_on_the_phone_once(
    stage: Stage, desk: Desk
):
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    written = await desk.writes("k-1", text="Aqui é a Ana, posso ajudar?")
    assert (written["message"]["sender"], written["message"]["send_state"]) == (
        "operator", "sending",
    )  # fmt: skip
    replies = await stage.maria.answered(2)
    assert replies[-1] == "Aqui é a Ana, posso ajudar?"
    assert (await desk.ends())[0]["outcome"] == "sent"
    assert (await desk.writes("k-1", text="Aqui é a Ana, posso ajudar?"))["state"] == "sent"
    (session,) = await stage.sessions()
    assert (session["is_paused"], session["pause_source"]) == (True, "operator")
    await stage.maria.writes("obrigada")
    await stage.turns_end()
    assert len(stage.maria.replies) == 2


async def test_the_reply_that_is_being_made_is_stopped_by_it(stage: Stage, desk: Desk):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await desk.writes("k-1", text="Tem, de cenoura")
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    await stage.maria.answered()
    await desk.ends()
    assert stage.maria.replies == ["Tem, de cenoura"]


@pytest.mark.parametrize("given", ["base64", "voice"])
async def test_media_is_sent_as_bytes(stage: Stage, desk: Desk, given: str):
    await stage.shop.owner.writes(stage.maria, "oi")
    kind, content = ("image", PICTURE) if given == "base64" else ("voice", b"OggS" + bytes(200))
    media = {"kind": kind, "base64": base64.b64encode(content).decode()}
    await desk.writes("k-1", media=media, seen_up_to=10)
    (relay,) = await desk.ends()
    assert (relay["outcome"], relay["said"]) == ("sent", None)
    assert len(stage.maria.replies) == 1


async def test_an_echo_before_or_after_the_answer_is_ours(stage: Stage, desk: Desk):
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await desk.writes("k-1", text="Tem sim!")
    await desk.ends()
    assert await stage.sql("select id from messages where sender = 'owner'") == []
    assert await stage.sql("select id from messages where sender = 'client'") == []


async def test_what_evolution_cannot_send_now_is_sent_when_it_can(stage: Stage, desk: Desk):
    await stage.shop.owner.writes(stage.maria, "oi")
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=2)
    await desk.writes("k-1", text="Já vai", seen_up_to=10)
    await stage.until(
        "select error from relays", lambda rows: bool(rows) and rows[0]["error"] is not None
    )
    await desk.comes()
    await stage.maria.answered()
    await desk.ends()
    assert stage.maria.replies == ["Já vai"]


async def test_what_evolution_refuses_is_failed_and_says_why(stage: Stage, desk: Desk):
    await stage.shop.owner.writes(stage.maria, "oi")
    stage.shop.fail("sendText", failures.not_on_whatsapp("5511955550001"), times=None)
    await desk.writes("k-1", text="Já vai", seen_up_to=10)
    (relay,) = await desk.ends()
    assert relay["outcome"] == "failed"
    again = await desk.writes("k-1", text="Já vai")
    assert (again["state"], again["message"]["send_state"]) == ("failed", "failed")
    assert "WhatsApp" in again["error"]


async def test_a_doubt_is_settled_and_nothing_is_sent_twice(stage: Stage, desk: Desk):
    await stage.shop.owner.writes(stage.maria, "oi")
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    await desk.writes("k-1", text="Já vai", seen_up_to=10)
    await stage.maria.answered()
    await stage.until(
        "select send_state from messages where sender = 'operator'",
        lambda rows: rows == [{"send_state": "sent"}],
    )
    await desk.comes()
    await desk.ends()
    assert stage.maria.replies == ["Já vai"]


async def test_two_operators_at_once_are_one_and_one_who_has_to_look(stage: Stage, desk: Desk):
    seen = await stage.maria.writes("quero falar com gente")
    await stage.maria.answered()
    (last,) = await stage.sql("select max(id) as id from messages")
    both = await asyncio.gather(
        desk.post("ana", text="Oi, sou a Ana", seen_up_to=last["id"]),
        desk.post("bia", text="Oi, sou a Bia", seen_up_to=last["id"]),
    )
    assert sorted(answer.status_code for answer in both) == [201, 409]
    refused = next(answer for answer in both if answer.status_code == 409)
    assert "another person wrote" in refused.json()["error"]["message"]
    await desk.ends()
    assert len(stage.maria.replies) == 2
    assert seen is not None


# The staff, in WhatsApp


@pytest.fixture
def staff(stage: Stage) -> Staff:
    return Staff(stage, stage.shop.customer(ANA, name="Ana"))


async def test_what_quotes_a_notice_goes_to_the_customer_and_gets_a_word(
    stage: Stage, staff: Staff
):
    notice = await staff.are_told()
    await staff.ana.quotes(notice, "Oi Maria, é a Ana. Já te ligo.")
    assert await staff.word() == "Sent to Maria (5511955550001)."
    assert stage.maria.replies[1:] == ["Oi Maria, é a Ana. Já te ligo."]
    assert [h["state"] for h in await stage.sql("select state from handoffs")] == ["taken"]
    sessions = await stage.sql("select phone_jid from sessions where is_paused")
    assert [session["phone_jid"] for session in sessions] == ["5511955550001@s.whatsapp.net"]


async def test_ok_takes_it_resume_gives_it_back_and_a_time_gives_it_back_then(
    stage: Stage, staff: Staff
):
    notice = await staff.are_told()
    await staff.ana.quotes(notice, "ok")
    assert (await staff.word()).startswith("Maria (5511955550001) is yours: the AI is quiet there.")
    await staff.ana.quotes(notice, "2h")
    assert (await staff.word(3)).startswith("The AI is quiet, and answers Maria")
    await staff.ana.quotes(notice, "resume")
    assert await staff.word(4) == "The AI answers Maria (5511955550001) again."
    await staff.ana.quotes(notice, "resume")
    assert await staff.word(5) == "The AI answers Maria (5511955550001) already."
    await stage.turns_end()
    assert not await stage.paused()
    assert [reply for reply in stage.maria.replies if reply in ("ok", "2h", "resume")] == []


async def test_what_quotes_nothing_stays_with_the_staff(stage: Stage, staff: Staff):
    await staff.are_told()
    await staff.ana.writes("bom dia!")
    await staff.ana.writes("resume")
    assert "reply to the notice" in await staff.word()
    assert await stage.paused()
    assert len(stage.maria.replies) == 1


async def test_a_picture_goes_to_the_customer_too(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    await staff.ana.sends(quoting(stage, contents.image("nosso bolo"), notice))
    assert await staff.word() == "Sent to Maria (5511955550001)."
    assert len(stage.maria.replies) == 2
