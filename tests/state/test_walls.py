"""What a tenant's server and flows may change: nothing of another's, and no contact for another."""

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, held

OTHER_LID = "201955550009009@lid"


async def answered_as(talk: Conversation, jid: str | None, *, jids: tuple[str, ...]) -> None:
    """Maria is known by `jids`, and is answered; Evolution says that it sent to `jid`."""
    await talk.maria_writes("oi", jids=jids)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    finished = await talk.finish(turn, begun, "3EB0AA", jid=jid)  # type: ignore[arg-type]
    assert finished["turn_state"] == "sent"


async def known(talk: Conversation) -> dict[str, set[str]]:
    """Return which identities each session has, by the one that it had first."""
    rows = await talk.sql(
        "select session_id, array_agg(jid) as jids from session_identities group by 1 order by 1"
    )
    return {min(row["jids"]): set(row["jids"]) for row in rows}


SPELLINGS = [
    ("5531985550001", "553185550001"),
    ("5599975550001", "559975550001"),
    ("5215512345678", "525512345678"),
    ("5491123456789", "541123456789"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_another_spelling_of_the_same_number_is_learnt(
    talk: Conversation, one: str, other: str, turned: bool
):
    here, there = (
        f"{number}@s.whatsapp.net" for number in ((other, one) if turned else (one, other))
    )
    await answered_as(talk, there, jids=(here,))
    assert await known(talk) == {min(here, there): {here, there}}


STRANGERS = [
    *(JOAO, "5521955550001@s.whatsapp.net", "955550001@s.whatsapp.net", "55@s.whatsapp.net"),
    *("551195555000@s.whatsapp.net", "5491155550001@s.whatsapp.net", "120363000000000001@g.us"),
    *("status@broadcast", "", "nonsense", "5511955550001@c.us", "1@lid", "x@lid"),
]


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_an_answer_makes_nobody_of_another_number_the_contact(
    talk: Conversation, stranger: str
):
    await answered_as(talk, stranger, jids=(MARIA,))
    assert await known(talk) == {MARIA: {MARIA}}


# A mobile, and what would be the landline of somebody else: Evolution rewrites none of them.
NEIGHBOURS = [
    ("5511931234567", "551131234567"),
    ("5511985550001", "551185550001"),
    ("5531931234567", "553131234567"),
    ("5531965550001", "553165550001"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), NEIGHBOURS)
async def test_a_landline_is_not_the_mobile_with_its_digits(
    talk: Conversation, one: str, other: str, turned: bool
):
    here, there = (
        f"{number}@s.whatsapp.net" for number in ((other, one) if turned else (one, other))
    )
    await answered_as(talk, there, jids=(here,))
    assert await known(talk) == {here: {here}}


@pytest.mark.parametrize("jid", [JOAO, "5521955550001@s.whatsapp.net", MARIA_LID])
async def test_an_answer_never_merges_two_sessions(talk: Conversation, jid: str):
    await talk.maria_writes("sou outra pessoa", jids=[jid])
    await answered_as_of_two(talk, jid)
    assert len(await known(talk)) == 2


async def answered_as_of_two(talk: Conversation, jid: str) -> None:
    await talk.maria_writes("oi", jids=[MARIA])
    await talk.travel(seconds=11)
    turns = await talk.claim()
    turn = next(turn for turn in turns if MARIA in turn["session"]["jids"])
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    await talk.finish(turn, begun, "3EB0AA", jid=jid)


@pytest.mark.parametrize(("first", "then"), [(MARIA, MARIA_LID), (MARIA_LID, MARIA)])
async def test_the_other_identity_is_learnt_where_it_is_nobodys(
    talk: Conversation, first: str, then: str
):
    await answered_as(talk, then, jids=(first,))
    assert await known(talk) == {min(first, then): {first, then}}
    session = await talk.session(first)
    assert (session["phone_jid"], session["lid"]) == (MARIA, MARIA_LID)


@pytest.mark.parametrize("jid", [OTHER_LID, JOAO])
async def test_who_has_both_identities_gets_no_third(talk: Conversation, jid: str):
    await answered_as(talk, jid, jids=(MARIA, MARIA_LID))
    assert await known(talk) == {MARIA_LID: {MARIA, MARIA_LID}}


async def test_a_message_id_that_comes_again_from_somebody_else_merges_nobody(talk: Conversation):
    """Whoever writes chooses the id of what they write."""
    await talk.maria_writes("o meu segredo", jids=[MARIA], wa_id="AC0FFEE")
    await talk.maria_writes("oi", jids=[OTHER_LID], wa_id="AC0001")
    again = await talk.maria_writes("oi", jids=[OTHER_LID], wa_id="AC0FFEE")
    assert again["duplicate"]
    assert len(await known(talk)) == 2


# --- what a flow may quote and react to


async def flow_sends(talk: Conversation, turn: Json, refers_to: str | None) -> Json:
    asked = {"kind": "text", "body": "Olá!", "identity": "i1", "lease_seconds": 45}
    return await talk.database.call(
        "begin_flow_send", {**held(turn), **asked, "refers_to": refers_to}
    )


async def test_a_flow_refers_to_messages_of_its_own_conversation_alone(talk: Conversation):
    await talk.open_shop("other")
    await talk.maria_writes("em outra loja", wa_id="AC0003", instance="other")
    await talk.maria_writes("de outra pessoa", jids=[JOAO], wa_id="AC0002")
    await talk.maria_writes("oi", jids=[MARIA], wa_id="AC0001")
    await talk.travel(seconds=11)
    (turn,) = [
        turn
        for turn in await talk.claim()
        if turn["session"]["jids"] == [MARIA] and turn["tenant"]["instance_name"] == "shop"
    ]
    for foreign in ("AC0002", "AC0003", "NOBODYS", ""):
        assert (await flow_sends(talk, turn, foreign)) == {"refused": "elsewhere"}
    assert await talk.value("select count(*) from messages where from_me") == 0
    assert (await flow_sends(talk, turn, "AC0001"))["ok"]


# --- whose turn, whose execution


async def two_turns(talk: Conversation) -> tuple[Json, Json]:
    await talk.open_shop("other")
    await talk.maria_writes("oi")
    await talk.maria_writes("oi", instance="other")
    await talk.travel(seconds=11)
    turns = {turn["tenant"]["instance_name"]: turn for turn in await talk.claim()}
    return turns["shop"], turns["other"]


ASKED: list[tuple[str, Json]] = [
    ("look_at_turn", {}),
    ("prove_flow", {}),
    ("begin_flow", {"execution_id": "1"}),
    ("begin_flow_send", {"kind": "text", "body": "x", "lease_seconds": 45}),
    ("finish_turn", {}),
    ("fail_turn", {"kind": "transient", "error": "x", "max_attempts": 5, "base_seconds": 1}),
    ("extend_turn", {"seconds": 60}),
    ("find_media", {"wa_id": "A1"}),
    ("look_at_turn", {"closed": True}),
    ("hand_off", {"reason": "x"}),
    ("refuse_reply", {"rule": "x"}),
    ("release_turn", {}),
]


@pytest.mark.parametrize("ended", ["running", "sent", "taken over", "dead"])
@pytest.mark.parametrize(("function", "argument"), ASKED, ids=[asked[0] for asked in ASKED])
async def test_a_foreign_turn_and_none_are_the_same_to_a_flow(
    talk: Conversation, function: str, argument: Json, ended: str
):
    mine, theirs = await two_turns(talk)
    if ended == "running":
        await talk.begin(theirs, "Olá!")  # which part comes next is nobody else's business
    elif ended == "sent":
        await talk.database.call("finish_turn", held(theirs))
    elif ended == "taken over":
        await talk.owner_writes("deixa comigo", instance="other")
    elif ended == "dead":
        await talk.fail(theirs, "permanent")
    token = {"token": mine["token"], **argument}
    foreign = await talk.database.call(function, {"turn_id": theirs["turn_id"], **token})
    none = await talk.database.call(function, {"turn_id": 999_999, **token})
    assert foreign == none
    assert foreign["refused"] == "stale"


@pytest.mark.parametrize("ended", [False, True])
async def test_a_flow_cannot_take_another_tenants_execution(talk: Conversation, ended: bool):
    mine, theirs = await two_turns(talk)
    begun = await talk.database.call("begin_flow", {**held(theirs), "execution_id": "4711"})
    assert begun == {"ok": True}
    if ended:
        await talk.database.call("finish_turn", held(theirs))
    taken = await talk.database.call("begin_flow", {**held(mine), "execution_id": "4711"})
    assert taken == {"refused": "execution_taken"}
    crash = {"kind": "transient", "error": "x", "max_attempts": 5, "base_seconds": 1}
    failed = await talk.database.call("fail_execution", {"execution_id": "4711", **crash})
    assert failed.get("turn_id", theirs["turn_id"]) == theirs["turn_id"]
    assert (await talk.turns())[0]["state"] == "running"


async def test_what_n8n_says_of_its_execution_wins_over_what_a_flow_has_claimed(talk: Conversation):
    mine, theirs = await two_turns(talk)
    claimed = {**held(mine), "execution_id": "4711"}
    assert await talk.database.call("begin_flow", claimed) == {"ok": True}
    given = {**held(theirs), "execution_id": "4711", "by_n8n": True}
    assert await talk.database.call("begin_flow", given) == {"ok": True}
    assert await talk.database.call("begin_flow", claimed) == {"refused": "execution_taken"}
    crash = {"kind": "transient", "error": "x", "max_attempts": 5, "base_seconds": 1}
    failed = await talk.database.call("fail_execution", {"execution_id": "4711", **crash})
    assert failed["turn_id"] == theirs["turn_id"]


async def test_n8n_says_it_of_a_turn_too_that_its_flow_has_closed(talk: Conversation):
    mine, theirs = await two_turns(talk)
    await talk.database.call("finish_turn", held(theirs))
    given = {"execution_id": "4711", "by_n8n": True}
    assert await talk.database.call("begin_flow", {**held(theirs), **given}) == {"ok": True}
    stranger = {"turn_id": mine["turn_id"], "token": theirs["token"], **given}
    assert (await talk.database.call("begin_flow", stranger))["refused"] == "stale"
    assert await executions(talk) == {mine["turn_id"]: None, theirs["turn_id"]: "4711"}


async def executions(talk: Conversation) -> dict[int, str | None]:
    return {row["id"]: row["execution_id"] for row in await talk.sql("select * from turns")}


async def test_whose_a_token_is_is_told_also_when_it_may_act_no_more(talk: Conversation):
    mine, theirs = await two_turns(talk)
    for turn, tenant_id in ((mine, 1), (theirs, 2)):
        assert await talk.database.call("prove_flow", held(turn)) == {"tenant_id": tenant_id}
    await talk.database.call("finish_turn", held(mine))
    assert await talk.database.call("prove_flow", held(mine)) == {"tenant_id": 1}


async def test_whose_a_notices_token_is(talk: Conversation):
    await talk.sql("update tenants set notify_number = '5511955550009'")
    mine, _ = await two_turns(talk)
    await talk.database.call("hand_off", {**held(mine), "reason": "x"})
    question = {"limit": 10, "lease_seconds": 60, "max_attempts": 5}
    (notice,) = (await talk.database.call("claim_notices", question))["notices"]
    asked = {"notice_id": notice["notice_id"], "token": notice["token"]}
    assert await talk.database.call("prove_flow", asked) == {"tenant_id": 1}
    for wrong, why in (
        ({"token": mine["token"]}, "stale"),
        ({"notice_id": 999_999}, "unknown_notice"),
    ):
        assert await talk.database.call("prove_flow", asked | wrong) == {"refused": why}


async def test_a_turn_that_is_over_is_not_looked_at(talk: Conversation):
    mine, _ = await two_turns(talk)
    assert (await talk.database.call("look_at_turn", held(mine)))["is_paused"] is False
    await talk.database.call("finish_turn", held(mine))
    assert await talk.database.call("look_at_turn", held(mine)) == {"refused": "superseded"}


async def test_a_paused_turn_is_told_as_such(talk: Conversation):
    mine, _ = await two_turns(talk)
    await talk.owner_writes("deixa comigo")
    assert await talk.database.call("look_at_turn", held(mine)) == {"refused": "paused"}
