"""People of the business answer: operators over the API, the staff by quoting a notice."""

import asyncio
import base64

import pytest

from loopback.connections import serving
from loopback.evolution import contents, failures
from tests.fixtures.sends import SOUND
from tests.scenarios.people import ANA, Desk, Staff, quoting
from tests.scenarios.stage import BOTH_HANDLERS, Stage

PICTURE = b"\xff\xd8\xff" + b"a picture of a cake" * 20


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return Desk(stage)


# Over the API


@BOTH_HANDLERS
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


@BOTH_HANDLERS
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
    kind, content = ("image", PICTURE) if given == "base64" else ("voice", base64.b64decode(SOUND))
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


@BOTH_HANDLERS
async def test_two_operators_at_once_are_one_and_one_who_has_to_look(stage: Stage, desk: Desk):
    seen = await stage.maria.writes("meu bolo veio seco")
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


@pytest.mark.parametrize(
    ("hours", "bytes_said", "why"),
    [
        (2, None, "within 60 minutes (answer_within_minutes)"),
        (0, 10**12, "it has more than"),
    ],
)
async def test_what_is_too_old_or_too_large_by_now_ends_and_says_why(
    stage: Stage, desk: Desk, hours: int, bytes_said: int | None, why: str
):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    await desk.writes("k-1", text="Já vai")
    await stage.until(
        "select send_state from messages where sender = 'operator'",
        lambda rows: rows == [{"send_state": "failed"}],
    )
    if bytes_said is not None:
        await stage.sql(
            "update relays set facts = jsonb_build_object('bytes', $1::bigint)", bytes_said
        )
    await stage.time_passes(hours=hours)
    await desk.comes()
    (relay,) = await desk.ends()
    assert relay["outcome"] == "failed"
    assert why in relay["error"]
    again = await desk.writes("k-1", text="Já vai")
    assert (again["state"], again["error"]) == ("failed", relay["error"])
    assert len(stage.maria.replies) == 1


# The staff, in WhatsApp


@pytest.fixture
def staff(stage: Stage) -> Staff:
    return Staff(stage, stage.shop.customer(ANA, name="Ana"))


@BOTH_HANDLERS
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


@BOTH_HANDLERS
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
    assert await staff.word(5) == "The AI already answers Maria (5511955550001)."
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


# What may go wrong


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "text"),
        ({"text": " \u200b "}, "text"),
        ({"text": "oi", "media": {"kind": "image", "base64": "AAAA"}}, "media"),
        ({"media": {"kind": "image"}}, "base64"),
        ({"media": {"kind": "image", "base64": "not base64!"}}, "base64"),
        ({"media": {"kind": "document", "base64": "AAAA"}}, "file_name"),
        ({"media": {"kind": "voice", "base64": "T2dnUwACAAAAAAAAAAA="}}, "sound"),
        ({"media": {"kind": "sticker", "base64": "AAAA", "caption": "oi"}}, "caption"),
        ({"media": {"kind": "image", "url": "https://ana:secret@example.com/a.png"}}, "media.url"),
        ({"text": "oi", "seen": 7}, "seen"),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_name_and_takes_nothing_over(
    stage: Stage, desk: Desk, body: dict[str, object], names: str
):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    answer = await desk.post("k-1", **body)
    assert answer.status_code == 422, answer.text
    assert names in answer.json()["error"]["message"]
    assert not await stage.paused()
    assert await stage.sql("select id from relays") == []


async def test_media_at_addresses_are_counted_as_they_are_fetched(stage: Stage, desk: Desk):
    """A request that names one is short: many of them at once would fill the memory."""
    await stage.maria.writes("oi")
    await stage.maria.answered()
    over = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12000000\r\n\r\n")
        await over.wait()

    async with serving(stall) as port:
        address = f"http://127.0.0.1:{port}/bolo.png"
        media = {"kind": "image", "url": address}
        both = [asyncio.create_task(desk.post(key, media=media)) for key in ("k-1", "k-2")]
        (first, *_), _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        answer = first.result()
        over.set()
        await asyncio.gather(*both)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "too many media" in answer.json()["error"]["message"]


async def test_without_an_idempotency_key_nothing_is_sent(stage: Stage, desk: Desk):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    answer = await desk.post("")
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.text or "idempotency" in answer.text.lower()


async def test_an_echo_that_comes_before_the_answer_does_not_pause_as_the_owner(
    stage: Stage, desk: Desk
):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    stage.shop.tells_sends = "before"
    await desk.writes("k-1", text="Tem sim!")
    await desk.ends()
    await stage.shop.echoes(stage.maria)
    assert await stage.sql("select id from messages where sender in ('owner', 'client')") == []
    (session,) = await stage.sessions()
    assert session["pause_source"] == "operator"


async def test_the_same_request_again_and_again_is_one_message(stage: Stage, desk: Desk):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    answers = await asyncio.gather(*(desk.writes("k-1", text="Tem sim!") for _ in range(5)))
    assert len({answer["message"]["id"] for answer in answers}) == 1
    await desk.ends()
    assert stage.maria.replies[1:] == ["Tem sim!"]


async def test_the_staff_are_told_in_their_language(stage: Stage, staff: Staff):
    await stage.change(language="pt")
    notice = await staff.are_told()
    assert notice.text == "Maria (5511955550001) precisa falar com uma pessoa: pediu um atendente"
    await staff.ana.quotes(notice, "Já te ligo")
    assert await staff.word() == "Enviado para Maria (5511955550001)."


async def test_the_staff_are_known_under_their_lid(stage: Stage):
    staff = Staff(stage, stage.shop.customer(ANA, name="Ana", lid="201988880009009"))
    notice = await staff.are_told()
    await staff.ana.quotes(notice, "Já te ligo")
    assert await staff.word() == "Sent to Maria (5511955550001)."


async def test_a_notice_that_is_answered_twice_is_two_messages_in_their_order(
    stage: Stage, staff: Staff
):
    notice = await staff.are_told()
    await staff.ana.quotes(notice, "Oi Maria")
    await staff.ana.quotes(notice, "Já te ligo")
    await staff.word(3)
    assert stage.maria.replies[1:] == ["Oi Maria", "Já te ligo"]


async def test_who_quotes_a_notice_that_somebody_has_answered_is_told_so(
    stage: Stage, staff: Staff
):
    notice = await staff.are_told()
    await stage.shop.owner.writes(stage.maria, "Oi, é o dono")
    await staff.ana.quotes(notice, "Já te ligo")
    assert await staff.word() == (
        "Nothing was sent. Somebody else at your business has already answered Maria"
        " (5511955550001): “Oi, é o dono”. To send yours too, reply to the notice again."
    )
    assert "Já te ligo" not in stage.maria.replies


async def test_a_webhook_that_comes_twice_is_one_message(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    first = await staff.ana.quotes(notice, "Já te ligo")
    about = contents.quoting("Já te ligo", notice.wa_id, notice.text, stage.shop.jid)
    await staff.ana.sends(about, wa_id=first.wa_id)
    await staff.word()
    await stage.until(
        "select finished_at from relays", lambda rows: all(row["finished_at"] for row in rows)
    )
    assert stage.maria.replies[1:] == ["Já te ligo"]
    assert len(staff.ana.replies) == 2


async def test_what_evolution_refuses_is_told_to_who_wrote_it(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    stage.shop.fail("sendText", failures.not_on_whatsapp("5511955550001"))
    await staff.ana.quotes(notice, "Já te ligo")
    word = await staff.word()
    assert word.startswith("Not sent to Maria (5511955550001): ")
    assert stage.maria.replies[1:] == []


async def test_a_file_that_is_gone_is_told_of(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    sent = contents.image("nosso bolo")
    wa_id = "3A" + "0" * 18
    stage.shop.received[wa_id] = None
    await staff.ana.sends(quoting(stage, sent, notice), wa_id=wa_id)
    assert "could not be fetched from WhatsApp" in await staff.word()
    assert stage.maria.replies[1:] == []


async def test_the_word_back_is_said_when_the_line_is_back(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    gate = stage.shop.hold("sendText", after=True)
    await staff.ana.quotes(notice, "Já te ligo")
    await gate.reached()
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=2)
    gate.open()
    await stage.until(
        "select outcome, next_at > now() as waits from relays",
        lambda rows: rows == [{"outcome": "sent", "waits": True}],
    )
    await Desk(stage).comes()
    await Desk(stage).ends()
    assert await staff.word() == "Sent to Maria (5511955550001)."
    assert (stage.maria.replies[1:], len(staff.ana.replies)) == (["Já te ligo"], 2)


@BOTH_HANDLERS
async def test_staff_who_write_while_the_ai_answers_again_take_over(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    await staff.ana.quotes(notice, "resume")
    await staff.word()
    await stage.turns_end()
    said = len(stage.maria.replies)
    gate = stage.llm.hold()
    await stage.maria.writes("e o bolo?")
    await gate.reached()
    await staff.ana.quotes(notice, "Já te ligo")
    word = await staff.word(3)
    gate.open()
    await stage.turns_end()
    assert word == (
        "Sent to Maria (5511955550001). The AI had started to answer again; now it is quiet there."
    )
    assert stage.maria.replies[said:] == ["Já te ligo"]
    assert await stage.paused()


async def test_a_conversation_that_was_erased_is_told_of(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    await stage.post(f"/api/contacts/5511955550001/erase?tenant_id={stage.tenant_id}")
    await staff.ana.quotes(notice, "Já te ligo")
    assert await staff.word() == "Nothing was sent. That conversation was erased."
    assert stage.maria.replies[1:] == []


async def test_the_owner_answers_in_the_chat_with_the_own_number(stage: Stage):
    number = stage.shop.jid.partition("@")[0]
    own = stage.shop.customer(number, name="Padaria")
    staff = Staff(stage, own)
    notice = await staff.are_told(number)
    await stage.shop.owner.sends(own, quoting(stage, contents.text("Já te ligo"), notice))
    assert await staff.word() == "Sent to Maria (5511955550001)."
    assert stage.maria.replies[1:] == ["Já te ligo"]
    await stage.shop.owner.writes(own, "leite, ovos")
    assert await stage.sql("select id from messages where body = 'leite, ovos'") == []


async def test_a_reaction_to_a_notice_is_nothing(stage: Stage, staff: Staff):
    notice = await staff.are_told()
    await staff.ana.reacts(notice)
    assert await stage.sql("select id from relays") == []
