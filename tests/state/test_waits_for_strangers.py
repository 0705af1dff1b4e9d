"""A reply waits once for whom a human wrote to under a LID: not longer, and not too short."""

import pytest

from router.state.database import Json
from tests.state.conversation import MARIA_LID, Conversation, answered, held
from tests.state.test_unknown_lids import owner_writes_to_the_lid, spoken_with

OTHER_LID = "201955550001777@lid"


async def claim_strictly(talk: Conversation) -> Json:
    asked = {
        "limit": 10,
        "lease_seconds": 60,
        "max_attempts": 5,
        "history_limit": 50,
        "worker": "test",
        "answer_within_minutes": 60,
    }
    return await talk.database.call("claim_turns", asked)


@pytest.mark.parametrize("on_new_message", ["queue", "restart"])
async def test_a_turn_that_was_tried_waits_no_longer_with_each_message(
    talk: Conversation, on_new_message: str
):
    await talk.set_rule("on_new_message", on_new_message)
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.fail(turn)
    began = talk.offset
    for _ in range(8):
        await owner_writes_to_the_lid(talk)
        decision = await talk.maria_writes("e torta?")
        left = (talk.offset - began).total_seconds() + decision["due_in"]
        assert left <= 3 * 60 + 11 or decision["due_in"] <= 2
        await talk.travel(seconds=30)


@pytest.mark.parametrize("minutes", [1, 4, 20])
async def test_a_human_who_steps_in_late_is_waited_for_all_the_same(
    talk: Conversation, minutes: int
):
    """The turn was put off for a while, and is long past its first minutes."""
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.fail(turn, "away")
    await talk.travel(minutes=minutes)
    turn = await talk.claim_one()
    await owner_writes_to_the_lid(talk)
    await talk.save(turn, "Temos")
    assert (await talk.begin(turn, "Temos"))["refused"] == "stale"
    await talk.travel(seconds=160)
    assert await talk.claim() == []
    await owner_writes_to_the_lid(talk)  # it has waited: once is enough
    await talk.travel(seconds=25)
    (again,) = await talk.claim()
    assert again["reply"] == ["Temos"]
    assert "refused" not in await talk.begin(again, "Temos")


async def test_the_message_that_the_business_is_closed_waits_as_well(talk: Conversation):
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await owner_writes_to_the_lid(talk)
    asked = {
        **held(turn),
        "opens_at": talk.now().replace(year=talk.now().year + 1).isoformat(),
        "body": "Fechado.",
        "lease_seconds": 45,
    }
    assert (await talk.database.call("begin_away_send", asked))["refused"] == "stale"
    assert await talk.turn_states() == ["sent", "pending"]
    assert await talk.value("select count(*) from messages where body = 'Fechado.'") == 0


async def test_another_stranger_who_cannot_be_the_contact_hides_nobody(talk: Conversation):
    await spoken_with(talk)  # five seconds ago, and answered
    await talk.travel(minutes=28)
    await owner_writes_to_the_lid(talk)
    await talk.set_rule("unknown_lid_minutes", 10)
    await talk.travel(minutes=4)
    await talk.owner_writes("Oi, Bia", jids=[OTHER_LID])  # 32 minutes after Maria's last words
    assert 350 < (await talk.maria_writes("obrigada Ana!"))["due_in"] <= 360


@pytest.mark.parametrize(("within", "lid"), [(2, 3), (1, 60), (10, 60), (0.5, 3)])
async def test_no_answer_becomes_too_old_by_waiting(talk: Conversation, within: float, lid: int):
    await spoken_with(talk)
    await talk.set_rule("answer_within_minutes", within)
    await talk.set_rule("unknown_lid_minutes", lid)
    await owner_writes_to_the_lid(talk)
    due_in = (await talk.maria_writes("obrigada"))["due_in"]
    assert 0 < due_in < 60 * within
    await talk.travel(seconds=due_in + 1)
    claimed = await claim_strictly(talk)
    assert claimed["too_old"] == []
    (turn,) = claimed["turns"]
    assert answered(turn) == ["obrigada"]
    await talk.save(turn, "De nada")
    assert "refused" not in await talk.begin(turn, "De nada")


async def test_the_pair_that_is_told_while_it_waits_at_the_fence_ends_it(talk: Conversation):
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await owner_writes_to_the_lid(talk)
    await talk.save(turn, "Temos")
    assert (await talk.begin(turn, "Temos"))["refused"] == "stale"
    await talk.maria_writes("tchau", jids=["5511955550001@s.whatsapp.net", MARIA_LID])
    assert await talk.turn_states() == ["sent", "cancelled"]
