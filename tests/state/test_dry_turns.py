"""Test turns of flows: apart from all else, soon over, and good for nothing but that."""

import re
from uuid import uuid4

import pytest

from router.errors import Conflict, NotAllowed, NotFound
from router.gate.identity import CallerIdentity, script_caller
from tests.state.conversation import Conversation, Json

SHOP = "padaria"


async def as_caller(
    talk: Conversation, caller: CallerIdentity, function: str, **asked: object
) -> Json:
    call = {"caller": caller.claim, "function": function, "argument": asked}
    return (await talk.database.call("as_operator", call))["result"]


async def begun(talk: Conversation, **more: object) -> Json:
    script = script_caller("ana")
    asked = {"instance_name": await name(talk), "seconds": 60, **more}
    return await as_caller(talk, script, "begin_dry_turn", **asked)


async def name(talk: Conversation) -> str:
    return str(await talk.value("select instance_name from tenants where id = 1"))


def held(dry: Json) -> Json:
    return {"dry_turn_id": dry["dry_turn_id"], "token": dry["token"]}


async def note(talk: Conversation, dry: Json, **more: object) -> Json:
    return await talk.database.call("note_dry_turn", {**held(dry), **more})


async def look(talk: Conversation, dry: Json, **more: object) -> Json:
    asked = {"instance_name": await name(talk), "dry_turn_id": dry["dry_turn_id"], **more}
    return await talk.database.call("look_at_dry_turn", asked)


async def test_what_is_said_is_kept_until_it_was_told(talk: Conversation):
    dry = await begun(talk)
    own = await name(talk)
    for text in ("um", "dois"):
        said = [{"path": "message/sendText", "body": {"text": text}}]
        assert await note(talk, dry, instance_name=own, said=said) == {"ok": True}
    assert not (await look(talk, dry))["is_over"]
    assert await note(talk, dry, ended={"how": "done"}) == {"ok": True}
    assert await note(talk, dry, ended={"how": "done"}) == {"ok": True}  # a retry of the node
    told = await look(talk, dry, close=True)
    assert [each["body"]["text"] for each in told["said"]] == ["um", "dois"]
    assert (told["ended"], told["is_over"]) == ({"how": "done"}, True)
    assert (await look(talk, dry))["said"] == []


async def test_nothing_else_knows_of_it(talk: Conversation):
    tables = ("sessions", "messages", "turns", "turn_attempts", "processed_events", "spending")
    before = [await talk.value(f"select count(*) from {table}") for table in tables]
    dry = await begun(talk)
    await note(talk, dry, said=[{"path": "message/sendText", "body": {"text": "oi"}}])
    await note(talk, dry, ended={"how": "handoff", "reason": "quer falar"})
    await look(talk, dry, close=True)
    assert [await talk.value(f"select count(*) from {table}") for table in tables] == before
    assert await talk.value("select count(*) from notices") == 0
    line = (await talk.sql("select action, tenant_id from audit_log order by id desc limit 1"))[0]
    assert (line["action"], line["tenant_id"]) == ("begin_dry_turn", 1)


async def test_its_token_is_worth_nothing_once_it_is_over(talk: Conversation):
    closed, ended, late = await begun(talk), await begun(talk), await begun(talk, seconds=1)
    await look(talk, closed, close=True)
    await note(talk, ended, ended={"how": "done"})
    await talk.sql(
        "update dry_turns set ends_at = hybridflow.clock() where id = $1", late["dry_turn_id"]
    )
    for dry in (closed, ended, late):
        assert await note(talk, dry, said=[]) == {"refused": "stale"}
    for dry in (closed, late):
        assert await talk.database.call("prove_flow", held(dry)) == {"refused": "stale"}


async def test_it_and_no_other_is_opened_by_its_token(talk: Conversation):
    first, second = await begun(talk), await begun(talk)
    assert await talk.database.call("prove_flow", held(first)) == {"tenant_id": 1}
    mixed = {**held(first), "dry_turn_id": second["dry_turn_id"]}
    assert await talk.database.call("prove_flow", mixed) == {"refused": "stale"}
    assert await talk.database.call("note_dry_turn", mixed) == {"refused": "stale"}
    assert await note(talk, {**first, "token": str(uuid4())}) == {"refused": "stale"}
    assert await note(talk, first, instance_name="another", said=[]) == {"refused": "elsewhere"}
    # The same number and secret, as a turn's and a notice's.
    for kind in ("turn_id", "notice_id"):
        asked = {kind: first["dry_turn_id"], "token": first["token"]}
        assert "refused" in await talk.database.call("prove_flow", asked)


async def test_a_tenants_admin_tries_its_own_flow_and_names_no_other(talk: Conversation):
    made = await as_caller(
        talk, script_caller("ana"), "create_api_key", name="admin", key_hash="ab" * 32,
        starts_with="hfk_abcdefgh", role="admin", tenant_ids=[1],
    )  # fmt: skip
    assert made
    admin = CallerIdentity("admin", {"kind": "key", "key_hash": "ab" * 32})
    asked = {"instance_name": await name(talk), "seconds": 60}
    assert await as_caller(talk, admin, "begin_dry_turn", **asked)
    with pytest.raises(NotAllowed):
        await as_caller(talk, admin, "begin_dry_turn", **asked, flow="another/hybridflow-turn")
    await as_caller(
        talk, script_caller("ana"), "create_api_key", name="operator", key_hash="cd" * 32,
        starts_with="hfk_ijklmnop", role="operator", tenant_ids=[1],
    )  # fmt: skip
    operator = CallerIdentity("operator", {"kind": "key", "key_hash": "cd" * 32})
    with pytest.raises(NotAllowed):
        await as_caller(talk, operator, "begin_dry_turn", **asked)
    with pytest.raises(NotFound):
        await as_caller(talk, admin, "begin_dry_turn", instance_name="another", seconds=60)


async def test_the_tenant_is_told_without_a_key(talk: Conversation):
    dry = await begun(talk)
    assert dry["tenant"]["evo_api_key"] is None
    assert dry["tenant"]["llm_api_key"] is None
    stored = await talk.value("select evo_api_key from tenants where id = 1")
    assert stored is None or stored not in re.sub(r"\s", "", str(dry))


async def test_a_tenant_whose_turns_go_to_no_flow_has_none_to_try(talk: Conversation):
    await talk.sql("update tenants set llm_api_key = 'sealed' where id = 1")
    with pytest.raises(Conflict, match="key of its own"):
        await begun(talk)


async def test_sixty_within_an_hour_are_enough_and_old_ones_go(talk: Conversation):
    for _ in range(60):
        await begun(talk)
    with pytest.raises(Conflict, match="60 test turns"):
        await begun(talk)
    await talk.travel(minutes=61)
    await begun(talk)
    assert await talk.value("select count(*) from dry_turns") == 1


async def test_there_is_an_end_of_what_is_written_down(talk: Conversation):
    dry = await begun(talk)
    many = [{"path": "message/sendText", "body": {"text": "x"}}] * 500
    assert await note(talk, dry, said=many) == {"ok": True}
    assert await note(talk, dry, said=many[:1]) == {"refused": "too_many_sends"}
