"""The demo's tenant: there while no real one is, made anew each time, and gone without a trace."""

import pytest

from router.errors import Conflict, Invalid
from router.state.calls.demo import BeginDemo, begin_demo, end_demo, look_at_demo
from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation

DEMO = {"instance_name": "demo", "evo_server_url": "http://127.0.0.1:1", "evo_api_key": "a-key"}
ASKED = BeginDemo(tenant_id=1_000_000, values=DEMO)


async def test_it_is_marked_and_takes_no_id_of_real_tenants(database: DirectDatabase):
    assert not (await look_at_demo(database)).has_tenants
    made = (await begin_demo(database, ASKED)).tenant
    assert (made.id, made.is_demo, made.instance_name) == (1_000_000, True, "demo")
    found = await look_at_demo(database)
    assert (found.has_tenants, found.tenant_id) == (False, 1_000_000)
    real = await database.call("create_tenant", {"values": DEMO | {"instance_name": "shop"}})
    assert (real["tenant"]["id"], real["tenant"]["is_demo"]) == (1, False)
    assert (await look_at_demo(database)).has_tenants


async def test_nobody_can_say_of_a_tenant_that_it_is_the_demo(database: DirectDatabase):
    with pytest.raises(Invalid, match="is_demo"):
        await database.call("create_tenant", {"values": DEMO | {"is_demo": True}})
    await database.call("create_tenant", {"values": DEMO})
    with pytest.raises(Invalid, match="is_demo"):
        await database.call("change_tenant", {"tenant_id": 1, "values": {"is_demo": True}})


async def test_the_first_real_tenant_ends_it_whoever_played_it(database: DirectDatabase):
    """Whoever played it may have been killed: then nobody else would take it away."""
    await begin_demo(database, ASKED)
    await talked(Conversation(database, "demo"))
    real = await database.call("create_tenant", {"values": DEMO})  # its name is free, too
    assert (real["tenant"]["id"], real["tenant"]["is_demo"]) == (1, False)
    found = await look_at_demo(database)
    assert (found.has_tenants, found.tenant_id) == (True, None)
    assert (await end_demo(database)).ended == 0


async def test_a_tenant_that_is_refused_leaves_it_as_it_is(database: DirectDatabase):
    await begin_demo(database, ASKED)
    with pytest.raises(Invalid):
        await database.call("create_tenant", {"values": DEMO | {"llm_provider": "parrot"}})
    assert (await look_at_demo(database)).tenant_id == 1_000_000


async def test_beside_a_real_tenant_there_is_none(talk: Conversation):
    with pytest.raises(Conflict):
        await begin_demo(talk.database, ASKED)
    assert (await end_demo(talk.database)).ended == 0
    assert (await look_at_demo(talk.database)).has_tenants


async def test_its_pauses_can_be_made_to_run_out(database: DirectDatabase):
    await begin_demo(database, ASKED)
    talk = Conversation(database, "demo")
    await talked(talk)
    await talk.maria_writes("Entregam?")
    asked = {"tenant_id": 1_000_000, "policy": {}}
    due = await database.call("auto_resume", {"policy": {}})
    assert due["resumed"] == 0
    over = (await database.call("pass_demo_time", asked))["session_ids"]
    ended = await database.call("auto_resume", {"policy": {}, "session_ids": over})
    assert (ended["resumed"], ended["turns"]) == (1, 1)  # what was asked meanwhile is answered
    assert (await database.call("pass_demo_time", asked))["session_ids"] == []


async def test_no_real_tenants_time_passes(talk: Conversation):
    await talked(talk)
    asked = {"tenant_id": 1, "policy": {}}
    assert (await talk.database.call("pass_demo_time", asked))["session_ids"] == []
    assert (await talk.database.call("auto_resume", {"policy": {}}))["resumed"] == 0


async def test_it_begins_anew_with_nothing_said(database: DirectDatabase):
    talk = Conversation(database, "demo")
    for _ in range(2):
        await begin_demo(database, ASKED)
        assert (await database.call("list_sessions", {"tenant_id": 1_000_000}))["items"] == []
        await talked(talk)
        assert (await database.call("list_sessions", {"tenant_id": 1_000_000}))["items"] != []


async def test_it_goes_with_all_that_was_said(database: DirectDatabase):
    await begin_demo(database, ASKED)
    await talked(Conversation(database, "demo"))
    assert (await end_demo(database)).ended == 1
    assert (await end_demo(database)).ended == 0
    async with database._pool.acquire() as connection:
        tables = await connection.fetch(
            "select table_name as name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'tenant_id'"
            # Lines of the one are only ever added; the other has ids only, for ten minutes.
            " and table_name not in ('audit_log', 'changes')"
        )
        for table in tables:
            kept = f"select count(*) from public.{table['name']} where tenant_id = 1000000"
            assert await connection.fetchval(kept) == 0, table["name"]


async def talked(talk: Conversation) -> None:
    """Have a customer write, and the owner answer by hand."""
    await talk.maria_writes("Oi!")
    await talk.claim_one()
    await talk.owner_writes("Oi, aqui é a Ana")
