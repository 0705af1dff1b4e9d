"""The owner writes to a LID that nobody knows: who may be that contact is not answered at once."""

import pytest

from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, answered, held


async def owner_writes_to_the_lid(talk: Conversation, **how: object) -> None:
    decision = await talk.owner_writes("Oi, é a Ana", jids=[MARIA_LID], **how)
    assert decision["decision"] == "takeover"


async def spoken_with(talk: Conversation, *jids: str) -> None:
    await talk.maria_writes("oi", jids=jids or [MARIA], ago=5)
    await talk.answer()


async def test_what_the_contact_writes_then_waits_for_minutes(talk: Conversation):
    await spoken_with(talk)
    await owner_writes_to_the_lid(talk)
    decision = await talk.maria_writes("obrigada Ana!")
    assert decision["decision"] == "turn_pending"
    assert 170 < decision["due_in"] <= 180
    await talk.travel(seconds=60)
    assert await talk.claim() == []


async def test_it_is_answered_when_the_wait_is_over(talk: Conversation):
    await spoken_with(talk)
    await owner_writes_to_the_lid(talk)
    await talk.maria_writes("obrigada")
    await talk.travel(minutes=3, seconds=1)
    (turn,) = await talk.claim()
    await talk.save(turn, "De nada")
    assert "refused" not in await talk.begin(turn, "De nada")


async def test_however_much_the_owner_goes_on_writing(talk: Conversation):
    await spoken_with(talk)
    await owner_writes_to_the_lid(talk)
    await talk.maria_writes("obrigada")
    for _ in range(3):
        await talk.travel(minutes=1)
        await owner_writes_to_the_lid(talk)
    await talk.travel(seconds=2)
    (turn,) = await talk.claim()
    await talk.save(turn, "De nada")
    assert "refused" not in await talk.begin(turn, "De nada")


async def test_a_reply_in_the_making_is_kept_back_and_kept(talk: Conversation):
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await owner_writes_to_the_lid(talk)
    await talk.save(turn, "Temos")
    assert (await talk.begin(turn, "Temos"))["refused"] == "stale"
    assert await talk.turn_states() == ["sent", "pending"]
    await talk.travel(minutes=4)
    (again,) = await talk.claim()
    assert (again["reply"], again["attempt"]) == (["Temos"], 1)
    assert "refused" not in await talk.begin(again, "Temos")


async def test_a_flow_is_kept_back_as_well(talk: Conversation):
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await owner_writes_to_the_lid(talk)
    refused = await talk.database.call(
        "begin_flow_send",
        {**held(turn), "kind": "text", "body": "Temos", "lease_seconds": 45},
    )
    assert refused["refused"] == "stale"


async def test_what_has_begun_to_speak_goes_on(talk: Conversation):
    await spoken_with(talk)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos", "de cenoura")
    await talk.finish(turn, await talk.begin(turn, "Temos"), "3EB001")
    await owner_writes_to_the_lid(talk)
    assert "refused" not in await talk.begin(turn, "de cenoura", part=1)


async def test_once_the_pair_is_told_nothing_is_said_at_all(talk: Conversation):
    await spoken_with(talk)
    await owner_writes_to_the_lid(talk)
    await talk.maria_writes("obrigada Ana!")
    await talk.maria_writes("tchau", jids=[MARIA, MARIA_LID])
    assert (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["sent", "cancelled"]


@pytest.mark.parametrize(
    "case", ["off", "own_lid", "not_lately", "new", "known_stranger", "other_tenant", "long_ago"]
)
async def test_nobody_else_waits(talk: Conversation, case: str):
    match case:
        case "off":
            await talk.set_rule("unknown_lid_minutes", 0)
        case "own_lid":
            await spoken_with(talk, MARIA, "201955550001999@lid")
        case "other_tenant":
            await talk.open_shop("bakery")
    if case not in ("own_lid", "new"):
        await spoken_with(talk)
    if case == "not_lately":
        await talk.travel(hours=1)
    if case == "known_stranger":  # they write under that LID themselves: it is another conversation
        await talk.maria_writes("bom dia", jids=[MARIA_LID])
    if case == "other_tenant":
        await talk.owner_writes("Oi", jids=[MARIA_LID], instance="bakery")
    else:
        await owner_writes_to_the_lid(talk)
    if case == "long_ago":
        await talk.travel(minutes=4)
    jid = JOAO if case == "new" else MARIA
    assert (await talk.maria_writes("tem bolo?", jids=[jid]))["due_in"] == 2
    assert "tem bolo?" in answered(await talk.claim_one())
