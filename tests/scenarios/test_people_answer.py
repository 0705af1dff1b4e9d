"""People of the business answer: operators over the API, the staff by quoting a notice."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import httpx
import pytest

from loopback.evolution import Customer, contents, failures
from loopback.evolution.chats import PhoneMessage
from loopback.evolution.contents import Content
from tests.routers import API_KEY
from tests.scenarios.stage import BOTH_HANDLERS, Stage

pytestmark = BOTH_HANDLERS

ANA = "5531988880009"
PICTURE = b"\xff\xd8\xff" + b"a picture of a cake" * 20


class Desk:
    """Where an operator writes to a conversation over the API."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def post(self, key: str, /, **body: Any) -> httpx.Response:
        (session,) = await self.stage.sql(
            "select s.id from sessions as s join session_identities as i on i.session_id = s.id"
            " where i.jid = '5511955550001@s.whatsapp.net'"
        )
        headers = {"X-API-Key": API_KEY, "Idempotency-Key": key}
        async with httpx.AsyncClient(base_url=self.stage.router_url, timeout=30) as client:
            return await client.post(
                f"/api/sessions/{session['id']}/messages",
                params={"tenant_id": self.stage.tenant_id}, headers=headers, json=body,
            )  # fmt: skip

    async def writes(self, key: str, /, **body: Any) -> Any:
        answer = await self.post(key, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def ends(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many relays are over."""
        return await self.stage.until(
            "select * from relays order by id",
            lambda rows: len(rows) == number and all(row["finished_at"] for row in rows),
        )

    async def comes(self) -> None:
        """What waits to be tried again is due now."""
        await self.stage.sql("update relays set next_at = now() where finished_at is null")


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


def quoting(stage: Stage, content: Content, notice: PhoneMessage) -> Content:
    """Return anything that a message can hold, as an answer to the notice."""
    about = contents.quoting("", notice.wa_id, notice.text, stage.shop.jid)
    return replace(content, has_context=True, context=about.context)


class Staff:
    """Ana, who is told notices and quotes them."""

    def __init__(self, stage: Stage, ana: Customer) -> None:
        self.stage = stage
        self.ana = ana

    async def are_told(self) -> PhoneMessage:
        """Maria asks for a human, and Ana has the notice on her phone."""
        stage = self.stage
        await stage.change(notify_number=ANA)
        await stage.maria.writes("oi")
        await stage.maria.answered()
        await stage.sql("update tenants set debounce_seconds = 600")
        await stage.maria.writes("quero falar com gente")
        token = "00000000-0000-4000-8000-000000000001"
        (turn,) = await stage.sql(
            "update turns set state = 'running', lease_until = now() + interval '1 hour',"
            " token_hash = hybridflow.hash_token($1::uuid) where state = 'pending' returning id",
            token,
        )
        await stage.sql("update tenants set debounce_seconds = 0")
        await stage.database.call(
            "hand_off", {"turn_id": turn["id"], "token": token, "reason": "asked_for_person"}
        )
        await self.ana.answered()
        await stage.until(
            "select state from notices", lambda rows: rows == [{"state": "delivered"}]
        )
        return next(each for each in self.ana.transcript if each.author == "api")

    async def word(self, number: int = 2) -> str:
        """The word back that comes as this message."""
        return (await self.ana.answered(number))[number - 1]


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
