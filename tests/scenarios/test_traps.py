"""The traps beside the table: our own echoes, automatic replies, other clients, edits."""

import pytest

from loopback.evolution import contents, failures
from tests.scenarios.stage import BOTH_HANDLERS, NAMED, Stage

pytestmark = BOTH_HANDLERS


@pytest.mark.parametrize("when", ["before", "after", "never"])
async def test_our_own_send_is_never_a_takeover_whenever_its_webhook_comes(stage: Stage, when):
    stage.shop.tells_sends = when
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.turns_end()
    assert not await stage.paused()
    assert len(stage.maria.replies) == 1


async def test_a_call_answered_by_evolution_itself_is_not_a_takeover(stage: Stage):
    await stage.maria.calls(auto_reply="Não atendemos ligações")
    await stage.maria.writes("ok, então escrevo")
    await stage.maria.answered()
    assert not await stage.paused()


async def test_a_greeting_of_whatsapp_business_is_not_a_takeover_where_the_tenant_says_so(
    stage: Stage,
):
    await stage.sql("update tenants set auto_reply_seconds = 3")
    await stage.maria.writes("oi")
    await stage.shop.owner.greeting(stage.maria, "Olá! Já vamos te atender.")
    await stage.maria.answered()
    assert not await stage.paused()


async def test_a_send_by_another_client_of_evolution_is_a_takeover(stage: Stage):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.shop.other_client_sends(stage.maria, "Aqui é a Ana, pelo Chatwoot")
    assert await stage.paused()


async def test_an_edit_changes_what_is_answered_and_a_deletion_takes_it_away(stage: Stage):
    await stage.change(debounce_seconds=3)  # as long as a busy machine may need
    first = await stage.maria.writes("tem bolo?")
    second = await stage.maria.writes("ops")
    await stage.maria.edits(first, "tem bolo de cenoura?")
    await stage.maria.deletes(second)
    await stage.time_passes(seconds=4)
    await stage.maria.answered()
    (request,) = stage.llm.requests
    assert (
        request.body["messages"][-1]["content"] == f"{NAMED}tem bolo de cenoura?\n[deleted message]"
    )


async def test_a_person_known_by_lid_and_phone_is_one_session(stage: Stage):
    for identity in ("lid", "lid_with_pn", "pn", "pn_with_lid"):
        await stage.maria.writes(f"por {identity}", identity=identity)
    await stage.maria.answered()
    await stage.turns_end()
    assert len(await stage.sessions()) == 1
    assert len(stage.maria.replies) == 1


async def test_a_pause_holds_under_every_identity(stage: Stage):
    await stage.maria.writes("oi", identity="lid_with_pn")
    await stage.shop.owner.writes(stage.maria, "deixa comigo", identity="pn")
    await stage.maria.writes("ok", identity="lid")
    await stage.turns_end()
    assert stage.maria.replies == []


async def test_every_webhook_twice_is_one_reply(stage: Stage):
    stage.shop.webhooks.repeat()
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    assert not await stage.paused()


async def test_what_is_hours_old_is_recorded_and_not_answered(stage: Stage):
    await stage.maria.writes("bom dia", at=stage.evolution.now() - 3 * 3600)
    await stage.turns_end()
    assert stage.maria.replies == []
    assert len(await stage.sql("select * from messages")) == 1


async def test_delivery_states_reach_the_message(stage: Stage):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.until(
        "select status from messages where from_me", lambda rows: rows[0]["status"] == "read"
    )


async def test_media_are_described_with_and_without_base64(stage: Stage):
    await stage.change(debounce_seconds=3)  # as long as a busy machine may need
    await stage.maria.sends(contents.image("essa foto"))
    await stage.maria.sends(contents.voice(7))
    await stage.maria.sends(contents.document("nota.pdf", "segue"))
    await stage.time_passes(seconds=4)
    await stage.maria.answered()
    said = stage.llm.requests[-1].body["messages"][-1]["content"]
    assert "essa foto" in said
    assert "7 seconds" in said
    assert "nota.pdf" in said
    assert await stage.sql("select 1 from messages where media::text like '%iVBOR%'") == []


async def test_the_message_is_marked_as_read_with_the_reply_and_not_before(stage: Stage):
    gate = stage.llm.hold()
    asked = await stage.maria.writes("oi")
    await gate.reached()
    assert asked.wa_id not in stage.shop.read
    gate.open()
    await stage.maria.answered()
    await stage.evolution.changes.until(
        lambda: asked.wa_id in stage.shop.read, "the message is marked as read"
    )


async def test_a_message_whose_reply_may_not_be_sent_any_more_stays_unread(stage: Stage):
    """The business, or another router, has it by then; read, it would be overlooked."""
    gate = stage.llm.hold()
    await stage.maria.writes("oi")
    await gate.reached()
    await stage.change(is_active=False)
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "tenant_inactive")
    assert stage.shop.calls("markMessageAsRead") == []


async def test_a_message_whose_reply_did_not_get_through_at_first_is_read_with_the_second_try(
    stage: Stage,
):
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    asked = await stage.maria.writes("oi")
    await stage.until("select error from turns where error is not null", bool)
    assert stage.shop.read == []
    await stage.time_passes(minutes=2)
    await stage.maria.answered()
    await stage.evolution.changes.until(
        lambda: asked.wa_id in stage.shop.read, "the message is marked as read"
    )


async def test_a_message_whose_reply_may_have_been_sent_is_read(stage: Stage):
    """Nobody makes the reply again if it was."""
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    asked = await stage.maria.writes("oi")
    await stage.evolution.changes.until(
        lambda: asked.wa_id in stage.shop.read, "the message is marked as read"
    )
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1


async def test_a_reply_in_markdown_arrives_in_whatsapps_own_marks(stage: Stage):
    stage.llm.answers("# Bolos\n\n- **Cenoura**: [ver](https://padaria.example)")
    await stage.maria.writes("quais bolos?")
    replies = await stage.maria.answered()
    assert replies == ["*Bolos*\n\n- *Cenoura*: ver (https://padaria.example)"]


async def test_a_long_reply_arrives_in_parts_and_in_order(stage: Stage):
    paragraphs = [f"Parágrafo {number}. " + "palavra " * 300 for number in range(6)]
    stage.llm.answers("\n\n".join(paragraphs))
    await stage.maria.writes("conta tudo")
    await stage.maria.answered()
    await stage.turns_end()
    replies = stage.maria.replies
    assert len(replies) == 6
    assert "\n\n".join(replies).split() == "\n\n".join(paragraphs).split()


async def test_connection_closed_is_tried_again_although_it_is_a_400(stage: Stage, handler):
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=2)
    await stage.maria.writes("oi")
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    if handler is None:  # a flow is begun again: what else it would have said is not known
        assert len(stage.llm.requests) == 1, "the reply is kept, not made again"


async def test_a_number_that_is_not_on_whatsapp_is_dead_at_once_with_the_reason(stage: Stage):
    stage.shop.fail("sendText", failures.not_on_whatsapp("5511955550001"))
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "dead"
    assert "not on WhatsApp" in turn["error"]
