"""What a customer changes after it was answered is answered again, where the tenant wants that."""

import pytest

from tests.state.conversation import Conversation, answered
from tests.state.test_changed_questions import deletes, edits


@pytest.fixture
async def talk(talk: Conversation) -> Conversation:
    await talk.set_rule("answer_edits", True)
    return talk


async def answered_once(talk: Conversation) -> None:
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await talk.answer("2, anotado")


async def test_a_correction_makes_a_turn_that_reads_the_new_text_last(talk: Conversation):
    await answered_once(talk)
    decision = await edits(talk, "AC01", "Quero 20 bolos", edited_at=talk.now().isoformat())
    assert (decision["decision"], decision["due_in"]) == ("edit_applied", 2)
    turn = await talk.claim_one()
    assert turn["turn_id"] == decision["turn_id"]
    assert [m["body"] for m in turn["history"]] == ["2, anotado", "Quero 20 bolos"]
    assert answered(turn) == ["Quero 20 bolos"]


async def test_it_joins_what_waits_already(talk: Conversation):
    await answered_once(talk)
    await talk.maria_writes("e um café", wa_id="AC02")
    await edits(talk, "AC01", "Quero 20 bolos", edited_at=talk.now().isoformat())
    assert answered(await talk.claim_one()) == ["Quero 20 bolos", "e um café"]


async def test_what_is_half_said_goes_on_and_the_correction_waits_for_its_own_turn(
    talk: Conversation,
):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    await talk.finish(turn, await talk.begin(turn, "um"), "3EB001")
    assert (await edits(talk, "AC01", "20", edited_at=talk.now().isoformat()))["due_in"] == 2
    assert "refused" not in await talk.begin(turn, "dois", part=1)
    assert await talk.turn_states() == ["sending", "pending"]


async def test_before_the_answer_there_is_one_turn_as_ever(talk: Conversation):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    assert "turn_id" not in await edits(talk, "AC01", "Quero 20 bolos")
    await talk.claim_one()
    assert "turn_id" not in await edits(talk, "AC01", "Quero 30 bolos")
    assert answered(await talk.claim_one()) == ["Quero 30 bolos"]
    assert len(await talk.turns()) == 1


@pytest.mark.parametrize("case", ["off", "paused", "inactive", "kind", "staff", "same", "old"])
async def test_it_makes_none_where_a_new_message_would_not(talk: Conversation, case: str):
    await answered_once(talk)
    edited_at, text = talk.now().isoformat(), "Quero 20 bolos"
    match case:
        case "off":
            await talk.set_rule("answer_edits", False)
        case "paused":
            await talk.owner_writes("deixa comigo")
        case "inactive":
            await talk.set_rule("is_active", False)
        case "kind":
            await talk.set_rule("unanswered_kinds", ["text"])
        case "staff":
            await talk.set_rule("notify_number", "5511955550001")
        case "same":
            text = "Quero 2 bolos"
        case "old":
            await talk.travel(hours=2)
    decision = await edits(talk, "AC01", text, edited_at=edited_at)
    assert decision["decision"] == "edit_applied"
    assert "turn_id" not in decision
    assert await talk.turn_states() == ["sent"]


async def test_a_deletion_after_the_answer_makes_none(talk: Conversation):
    await answered_once(talk)
    assert "due_in" not in await deletes(talk, "AC01")


async def test_a_bot_that_edits_without_end_is_a_loop(talk: Conversation):
    await talk.set_rule("loop_replies", 2)
    await answered_once(talk)
    for number in range(20):
        decision = await edits(
            talk, "AC01", f"Quero {number} bolos", edited_at=talk.now().isoformat()
        )
        if decision["decision"] == "loop":
            break
        await talk.answer("anotado")
    assert decision["decision"] == "loop"
    assert (await talk.session())["is_paused"]
