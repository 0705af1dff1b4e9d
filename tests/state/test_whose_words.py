"""Words that are those of a send in doubt are ours only in the chat that the send was for."""

from typing import Any

import pytest

from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, held

OTHER_LID = "209900000000001@lid"
WORDS = "Olá! Como posso ajudar?"


async def in_doubt(talk: Conversation) -> None:
    """A reply to Maria, known by her phone alone, is leaving."""
    await talk.maria_writes("oi")
    await talk.travel(seconds=11)
    turn = next(t for t in await talk.claim() if MARIA in t["session"]["jids"])
    await talk.save(turn, WORDS)
    begun = await talk.database.call(
        "begin_send",
        {**held(turn), "part": 0, "body": WORDS, "lease_seconds": 45, "told_as": ["told"]},
    )
    assert begun["ok"]


async def the_owner_writes_it(talk: Conversation, *jids: str, **how: Any) -> str:
    event = talk.message(WORDS, jids=jids, from_me=True, **how) | {"telling": "told"}
    decision: str = (await talk.ingest(event))[0]["decision"]
    return decision


@pytest.mark.parametrize(
    "jids",
    [(OTHER_LID,), (OTHER_LID, JOAO), (JOAO, OTHER_LID), (JOAO,)],
    ids=["a LID", "a LID and a phone", "a phone and a LID", "a phone"],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "not known"])
async def test_the_owners_words_to_another_contact_pause_that_contact(
    talk: Conversation, jids: tuple[str, ...], known: bool
):
    if known:
        await talk.maria_writes("oi", jids=jids)
    await in_doubt(talk)
    decision = await the_owner_writes_it(talk, *jids)
    if jids == (OTHER_LID,) and not known:
        assert (
            decision == "own_message"
        )  # the LID that is nobody's: nothing says that it is not hers
        return
    assert decision == "takeover"
    assert (await talk.session(jids[0]))["is_paused"]
    assert not (await talk.session(MARIA))["is_paused"]
    assert await talk.value("select send_state from messages where sender = 'ai'") == "sending"


@pytest.mark.parametrize("jids", [(MARIA,), (MARIA_LID,), (MARIA, MARIA_LID)], ids=str)
async def test_the_echo_in_its_own_chat_is_ours(talk: Conversation, jids: tuple[str, ...]):
    await in_doubt(talk)
    assert await the_owner_writes_it(talk, *jids) == "own_message"


@pytest.mark.parametrize("wa_id", ["AC" + "0A" * 15, "3A" + "0B" * 9, "3F" + "0C" * 9])
async def test_what_was_typed_by_hand_takes_over_whatever_it_says(talk: Conversation, wa_id: str):
    await in_doubt(talk)
    assert await the_owner_writes_it(talk, MARIA, wa_id=wa_id) == "takeover"
    assert (await talk.session(MARIA))["is_paused"]
