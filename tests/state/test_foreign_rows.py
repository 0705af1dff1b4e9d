"""What one tenant asks for waits for no row of another's and changes none, whatever it names."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, Conversation, held
from tests.state.test_people import HASHES
from tests.state.test_walls import ASKED, two_turns

ROUNDS = 100


@dataclass(frozen=True)
class Two:
    """Two tenants, `shop` and `other`, each with a turn under way and a connection of its own."""

    shop: Conversation
    other: Conversation
    mine: Json
    theirs: Json

    async def rows(self, instance: str) -> list[dict[str, Any]]:
        return await self.shop.sql(
            "select to_jsonb(t) - 'updated_at' as turn, s.* from turns as t"
            " inner join sessions as s on s.id = t.session_id"
            " inner join tenants as b on b.id = s.tenant_id where b.instance_name = $1",
            instance,
        )


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[Two]:
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        shop, other = Conversation(ours), Conversation(theirs, "other")
        await shop.open_shop()
        turns = await two_turns(shop)
        await other.travel(seconds=11)
        for talk in (shop, other):
            await talk.sql("set deadlock_timeout = '10ms'")
            await talk.sql("set lock_timeout = '2s'")
        yield Two(shop, other, *turns)
    finally:
        await ours.close()
        await theirs.close()


def naming(turn: Json, execution_id: str, *, by_n8n: bool) -> Json:
    return {**held(turn), "execution_id": execution_id, "by_n8n": by_n8n}


async def begin_flow(talk: Conversation, turn: Json, execution_id: str, *, by_n8n: bool) -> Json:
    """Ask once: the router's own call would ask again after a deadlock."""
    argument = naming(turn, execution_id, by_n8n=by_n8n)
    answer: Json = await talk.value("select public.begin_flow($1)", argument)
    return answer


@pytest.mark.parametrize("by_n8n", [True, False])
async def test_flows_that_name_each_others_executions_never_deadlock(two: Two, by_n8n: bool):
    for _ in range(ROUNDS):
        await begin_flow(two.shop, two.mine, "1", by_n8n=True)
        await begin_flow(two.other, two.theirs, "2", by_n8n=True)
        answers = await asyncio.gather(
            begin_flow(two.shop, two.mine, "2", by_n8n=by_n8n),
            begin_flow(two.other, two.theirs, "1", by_n8n=by_n8n),
        )
        if not by_n8n:
            assert answers == [{"refused": "execution_taken"}] * 2


@pytest.mark.parametrize("by_n8n", [True, False])
async def test_nor_where_each_has_its_own_locked_before_the_other_is_named(two: Two, by_n8n: bool):
    await begin_flow(two.shop, two.mine, "1", by_n8n=True)
    await begin_flow(two.other, two.theirs, "2", by_n8n=True)
    both_hold_their_own = asyncio.Barrier(2)

    async def name(talk: Conversation, turn: Json, execution_id: str) -> None:
        async with talk.database._pool.acquire() as connection, connection.transaction():
            extended = {**held(turn), "seconds": 60}
            assert (await connection.fetchval("select public.extend_turn($1)", extended))["ok"]
            await both_hold_their_own.wait()
            named = naming(turn, execution_id, by_n8n=by_n8n)
            await connection.fetchval("select public.begin_flow($1)", named)
            await both_hold_their_own.wait()

    await asyncio.gather(name(two.shop, two.mine, "2"), name(two.other, two.theirs, "1"))


async def test_two_that_claim_one_execution_at_the_same_moment_do_not_both_get_it(two: Two):
    for number in range(1, ROUNDS + 1):
        answers = await asyncio.gather(
            two.shop.database.call("begin_flow", naming(two.mine, f"{number}", by_n8n=False)),
            two.other.database.call("begin_flow", naming(two.theirs, f"{number}", by_n8n=False)),
        )
        assert answers.count({"ok": True}) <= 1
        assert all(
            answer.get("refused", "execution_taken") == "execution_taken" for answer in answers
        )


async def asks_nothing_of_the_other(two: Two, function: str, argument: Json) -> Json:
    """Have it asked while everything of the other tenant is locked; nothing of it may change."""
    before = await two.rows("other")
    pool = two.other.database._pool
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetch(
            "select from sessions as s inner join tenants as t on t.id = s.tenant_id"
            " where t.instance_name = 'other' for update of s"
        )
        for table in ("turns", "messages", "executions_to_erase"):
            await connection.fetch(
                f"select from {table} as r inner join tenants as t on t.id = r.tenant_id"
                " where t.instance_name = 'other' for update of r"
            )
        answer = await two.shop.database.call(function, argument)
    assert await two.rows("other") == before
    return answer


@pytest.mark.parametrize("is_told", [True, False], ids=["n8n said so", "its flow says so"])
@pytest.mark.parametrize("by_n8n", [True, False])
async def test_naming_a_foreign_execution_waits_for_nobody(two: Two, by_n8n: bool, is_told: bool):
    await two.other.database.call("begin_flow", naming(two.theirs, "4711", by_n8n=is_told))
    named = naming(two.mine, "4711", by_n8n=by_n8n)
    answer = await asks_nothing_of_the_other(two, "begin_flow", named)
    assert answer == ({"ok": True} if by_n8n else {"refused": "execution_taken"})


@pytest.mark.parametrize(("function", "argument"), ASKED, ids=[asked[0] for asked in ASKED])
async def test_naming_a_foreign_turn_waits_for_nobody(two: Two, function: str, argument: Json):
    named = {"turn_id": two.theirs["turn_id"], "token": two.mine["token"], **argument}
    assert await asks_nothing_of_the_other(two, function, named) == {"refused": "stale"}


@pytest.mark.parametrize("function", ["finish_send", "fail_send"])
async def test_naming_a_foreign_send_waits_for_nobody(two: Two, function: str):
    begun = await two.other.begin(two.theirs, "Olá!")
    tenant_id = await two.shop.value("select id from tenants where instance_name = 'shop'")
    named = {
        "tenant_id": tenant_id,
        "message_id": begun["message_id"],
        "wa_id": "3EB0AA",
        "error": "x",
    }
    await asks_nothing_of_the_other(two, function, named)


async def test_erasing_an_execution_that_another_tenant_has_erased_waits_for_nobody(two: Two):
    await two.other.database.call("begin_flow", naming(two.theirs, "4711", by_n8n=True))
    tenant_ids = {
        row["instance_name"]: row["id"] for row in await two.shop.sql("select * from tenants")
    }
    erased = {"jids": [MARIA], "hashes": HASHES.by_jid([MARIA])}
    await two.other.database.call("erase_contact", {"tenant_id": tenant_ids["other"], **erased})
    claimed = naming(two.mine, "4711", by_n8n=False)
    assert await two.shop.database.call("begin_flow", claimed) == {"ok": True}
    before = await two.shop.sql("select * from executions_to_erase")
    answer = await asks_nothing_of_the_other(
        two, "erase_contact", {"tenant_id": tenant_ids["shop"], **erased}
    )
    assert answer["execution_ids"] == ["4711"]
    assert await two.shop.sql("select * from executions_to_erase") == before


async def test_a_crash_is_told_to_whose_execution_it_is_and_waits_for_no_other(two: Two):
    for talk, turn, told in ((two.shop, two.mine, True), (two.other, two.theirs, False)):
        await talk.sql("update turns set execution_id = '4711' where id = $1", turn["turn_id"])
        if told:
            await talk.database.call("begin_flow", naming(turn, "4711", by_n8n=True))
    crash = {"kind": "transient", "error": "x", "max_attempts": 5, "base_seconds": 1}
    answer = await asks_nothing_of_the_other(
        two, "fail_execution", {"execution_id": "4711", **crash}
    )
    assert answer["turn_id"] == two.mine["turn_id"]
