"""What a router of the last release makes of what one of now has left: by that release's code.

It is copied among that release's state tests, and runs as one of them.
"""

from typing import Any

import pytest

from router.state.calls.turns import ClaimTurns, claim_turns
from tests.state.conversation import Conversation, held

SAY = "Vou chamar alguém."
HANDOFF = {"handoff": {"reason": "asked_for_person"}, "text": SAY}
MEDIA = {"path": "message/sendMedia", "body": {"media": "https://files.example/a.jpg"}}


async def left_by_a_newer_router(talk: Conversation, *parts: Any) -> None:
    """A reply is made and written down, and its router stops before any of it is said."""
    await talk.maria_writes("Quero falar com alguém")
    await talk.travel(seconds=11)
    asked = {"limit": 1, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5}
    claimed = await talk.database.call("claim_turns", {**asked, "worker": "new", "objects": True})
    (turn,) = claimed["turns"]
    made = {"parts": list(parts), "handler": "fallback"}
    assert (await talk.database.call("save_reply", {**held(turn), **made}))["ok"]
    await talk.database.call("release_turn", held(turn))


async def claimed_by_the_old_one(talk: Conversation) -> Any:
    asked = ClaimTurns(
        limit=5, lease_seconds=60, max_attempts=5, history_limit=5, worker="old",
        answer_within_minutes=60,
    )  # fmt: skip
    return await claim_turns(talk.database, asked)


@pytest.mark.parametrize("parts", [(HANDOFF,), ("Um momento.", HANDOFF, "Até já!")])
async def test_words_of_a_handoff_are_said_as_texts_and_hand_off(talk: Conversation, parts: Any):
    await left_by_a_newer_router(talk, *parts)
    (turn,) = (await claimed_by_the_old_one(talk)).turns
    texts = tuple(SAY if part is HANDOFF else part for part in parts)
    assert turn.reply == texts
    for number, text in enumerate(texts):
        begun = await talk.database.call(
            "begin_send", {**turn.held, "part": number, "body": text, "lease_seconds": 45}
        )
        assert begun["ok"]
        sent = {"tenant_id": 1, "message_id": begun["message_id"], "wa_id": f"3EB0{number:04}"}
        await talk.database.call("finish_send", {**sent, "jid": None, "status": "pending"})
    assert await talk.turn_states() == ["sent"]
    assert (await talk.session())["is_paused"]
    assert await talk.value("select words from handoffs") == "said"


async def test_that_nobody_has_come_yet_is_said_as_a_text(talk: Conversation):
    await left_by_a_newer_router(talk, {"line": 1, "text": SAY})
    (turn,) = (await claimed_by_the_old_one(talk)).turns
    assert turn.reply == (SAY,)


async def test_what_it_cannot_say_waits_for_a_newer_one_and_costs_no_attempt(talk: Conversation):
    await left_by_a_newer_router(talk, "Aqui está:", MEDIA)
    claimed = await claimed_by_the_old_one(talk)
    assert claimed.turns == ()
    assert claimed.next_due_at > claimed.now  # it does not ask again at once
    assert await talk.value("select attempt from turns") == 0
    (session,) = await talk.sql("select * from sessions")
    assert not session["is_paused"]
