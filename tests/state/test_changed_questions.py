"""A customer edits or deletes what they wrote while it is being answered."""

from typing import Any

import pytest

from tests.state.conversation import MARIA, POLICY, Conversation, answered, held


def change(
    talk: Conversation, kind: str, wa_id: str, text: str = "", **more: Any
) -> dict[str, Any]:
    return {
        "instance": "shop",
        "event": "messages.edited",
        "type": kind,
        "key": f"{kind}:{wa_id}:{text}",
        "wa_id": wa_id,
        "from_me": True,  # as Evolution mislabels it
        "jids": [MARIA],
        "text": text,
        "edited_at": talk.now().isoformat(),
    } | more


async def edits(talk: Conversation, wa_id: str, text: str, **more: Any) -> dict[str, Any]:
    return (await talk.ingest(change(talk, "edit", wa_id, text, **more)))[0]


async def deletes(talk: Conversation, wa_id: str) -> dict[str, Any]:
    return (await talk.ingest(change(talk, "delete", wa_id)))[0]


async def test_an_edit_while_the_reply_is_made_begins_it_anew(talk: Conversation):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    turn = await talk.claim_one()
    decision = await edits(talk, "AC01", "Quero 20 bolos")
    assert (decision["decision"], decision["due_in"]) == ("edit_applied", 2)
    assert (await talk.save(turn, "2, anotado"))["refused"] == "stale"
    assert (await talk.begin(turn, "2, anotado"))["refused"] == "stale"
    again = await talk.claim_one()
    assert answered(again) == ["Quero 20 bolos"]
    assert (again["turn_id"], again["attempt"]) == (turn["turn_id"], 1)


@pytest.mark.parametrize("saved", [False, True])
async def test_also_where_the_reply_was_written_down_and_waits(talk: Conversation, saved: bool):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    turn = await talk.claim_one()
    if saved:
        await talk.save(turn, "2, anotado")
    await talk.fail(turn)
    await edits(talk, "AC01", "Quero 20 bolos")
    again = await talk.claim_one()
    assert again["reply"] is None
    assert answered(again) == ["Quero 20 bolos"]


async def test_an_edit_that_changes_nothing_disturbs_nobody(talk: Conversation):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    turn = await talk.claim_one()
    assert "due_in" not in await edits(talk, "AC01", "Quero 2 bolos")
    await edits(talk, "AC01", "Antigo", edited_at="2020-01-01T00:00:00+00:00")
    assert (await talk.save(turn, "2, anotado")).get("refused") in (None, "stale")


async def test_an_older_edit_that_comes_late_does_not_count(talk: Conversation):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    await edits(talk, "AC01", "Quero 20 bolos")
    turn = await talk.claim_one()
    late = await edits(talk, "AC01", "Quero 5 bolos", edited_at="2020-01-01T00:00:00+00:00")
    assert "due_in" not in late
    assert "refused" not in await talk.save(turn, "20, anotado")


async def test_once_something_was_said_the_reply_goes_on(talk: Conversation):
    await talk.maria_writes("Quero 2 bolos", wa_id="AC01")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = await talk.begin(turn, "um")
    assert "due_in" not in await edits(talk, "AC01", "Quero 20 bolos")
    await talk.finish(turn, begun, "3EB001")
    assert "refused" not in await talk.begin(turn, "dois", part=1)


async def test_a_deletion_of_all_that_is_answered_cancels_it(talk: Conversation):
    await talk.maria_writes("oi", wa_id="AC01")
    await talk.maria_writes("tem bolo?", wa_id="AC02")
    turn = await talk.claim_one()
    assert (await deletes(talk, "AC01"))["due_in"] == 2
    assert "refused" in await talk.save(turn, "Olá")
    turn = await talk.claim_one()
    assert answered(turn) == ["[deleted message]", "tem bolo?"]
    await deletes(talk, "AC02")
    assert await talk.turn_states() == ["cancelled"]
    assert (await talk.begin(turn, "Temos"))["refused"] == "superseded"


async def test_what_the_business_changes_of_its_own_restarts_nothing(talk: Conversation):
    await talk.maria_writes("oi", ago=5)
    await talk.answer(wa_id="3EB0AA")
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    for kind in ("edit", "delete"):
        (decision,) = await talk.ingest(change(talk, kind, "3EB0AA", "x"))
        assert "due_in" not in decision
    assert "refused" not in await talk.database.call(
        "save_reply", {**held(turn), "parts": ["Temos"], "handler": "fallback"}
    )


async def test_a_tenant_may_wait_as_long_as_it_waits_for_more(talk: Conversation):
    await talk.set_rule("debounce_seconds", 30)
    await talk.maria_writes("oi", wa_id="AC01")
    await talk.travel(seconds=31)
    assert len(await talk.claim()) == 1
    decision = await edits(talk, "AC01", "olá", edited_at=talk.now().isoformat())
    assert decision["due_in"] == 30
    assert POLICY["debounce_seconds"] != 30


async def test_changes_without_end_do_not_keep_it_from_being_answered(talk: Conversation):
    await talk.maria_writes("Quero 0 bolos", wa_id="AC01")
    restarts = 0
    for number in range(1, 15):
        turn = await talk.claim_one()
        if "due_in" not in await edits(talk, "AC01", f"Quero {number} bolos"):
            break
        restarts += 1
    assert restarts == 10
    assert "refused" not in await talk.save(turn, "Anotado")
