"""A flood of one tenant, or of one contact, makes nobody else wait."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, Conversation, held


@pytest.fixture
async def shops(database: DirectDatabase) -> dict[str, int]:
    """Two tenants by their instances' names."""
    talk = Conversation(database)
    return {name: await talk.open_shop(name) for name in ("crowded", "quiet")}


async def flood(talk: Conversation, tenant_id: int, turns: int, due: str = "1 hour") -> None:
    """So many sessions of the tenant, each with a turn that has been due for so long."""
    await talk.sql(
        "with s as (insert into sessions (tenant_id, phone_jid)"
        " select $1, (5511900000000 + g) || '@s.whatsapp.net' from generate_series(1, $2) as g"
        " returning id, tenant_id)"
        " insert into turns (tenant_id, session_id, run_after, debounce_until)"
        " select tenant_id, id, now() - $3::text::interval, now() - $3::text::interval from s",
        tenant_id,
        turns,
        due,
    )


async def claim(talk: Conversation, limit: int, **more: object) -> Json:
    argument: dict[str, Any] = {
        "limit": limit,
        "lease_seconds": 60,
        "max_attempts": 5,
        "history_limit": 5,
        "worker": "one",
        **more,
    }
    return await talk.database.call("claim_turns", argument)


def owners(claimed: Json) -> Counter[str]:
    return Counter(turn["tenant"]["instance_name"] for turn in claimed["turns"])


async def test_one_turn_behind_five_hundred_of_another_tenant_is_claimed_in_the_first_batch(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 500)
    await flood(talk, shops["quiet"], 1, due="1 second")
    claimed = await claim(talk, 10)
    assert owners(claimed) == {"crowded": 9, "quiet": 1}


async def test_even_a_batch_of_two_serves_both(database: DirectDatabase, shops: dict[str, int]):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 500)
    await flood(talk, shops["quiet"], 3, due="1 second")
    assert owners(await claim(talk, 2)) == {"crowded": 1, "quiet": 1}


async def test_a_tenant_with_many_turns_under_way_comes_after_one_with_none(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 500)
    assert owners(await claim(talk, 9)) == {"crowded": 9}
    await flood(talk, shops["quiet"], 5, due="1 second")
    assert owners(await claim(talk, 1)) == {"quiet": 1}
    assert owners(await claim(talk, 4)) == {"quiet": 4}


async def test_alone_a_tenant_gets_every_place(database: DirectDatabase, shops: dict[str, int]):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 30)
    assert owners(await claim(talk, 20)) == {"crowded": 20}


async def test_the_cap_keeps_places_free_and_does_not_call_back_at_once_for_what_it_holds_back(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 500)
    claimed = await claim(talk, 20, tenant_max=15)
    assert owners(claimed) == {"crowded": 15}
    again = await claim(talk, 5, tenant_max=15)
    assert again["turns"] == []
    assert again["next_due_at"] > again["now"]
    await flood(talk, shops["quiet"], 9, due="1 second")
    assert owners(await claim(talk, 5, tenant_max=15)) == {"quiet": 5}


async def test_the_cap_is_each_workers_own_but_in_n8n_everybodys(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 500)
    assert len((await claim(talk, 9, tenant_max=3))["turns"]) == 3
    assert len((await claim(talk, 9, tenant_max=3, worker="two"))["turns"]) == 3
    shared = await claim(talk, 9, tenant_max=3, worker="three", n8n_max_in_flight=9)
    assert shared["turns"] == []


async def test_flows_have_no_seats_and_leave_places_in_n8n_to_others_all_the_same(
    database: DirectDatabase,
):
    """Each has a flow that sends by itself, for minutes: no worker has a seat for it."""
    talk = Conversation(database)
    terms = {"n8n_max_in_flight": 16, "tenant_max": 12, "own_times": 3, "sitting": {}, "own": {}}
    for name, most in (("first", 12), ("second", 3), ("third", 1)):
        await flood(talk, await talk.open_shop(name), 50)
        got = 0
        while turns := (await claim(talk, 20, **terms))["turns"]:
            await talk.sql("update turns set handler = 'n8n' where state = 'running'")
            got += Counter(turn["tenant"]["instance_name"] for turn in turns)[name]
        assert got == most, name


async def test_what_is_not_in_n8n_any_more_takes_no_place_of_its_tenant(
    database: DirectDatabase, shops: dict[str, int]
):
    """The worker knows that a flow has answered before the reply is written down."""
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 50)
    terms = {"n8n_max_in_flight": 4, "tenant_max": 3, "own_times": 3, "sitting": {}}
    crowded = str(shops["crowded"])
    first = [turn["turn_id"] for turn in (await claim(talk, 9, **terms))["turns"]]
    await talk.sql("update turns set handler = 'n8n' where state = 'running'")
    assert len(first) == 3
    some = {"own": {crowded: 3}, "in_n8n": {crowded: 1}, "not_in_n8n": first[:2]}
    assert len((await claim(talk, 9, **terms, **some))["turns"]) == 2
    # By the state alone, as other workers see it: two of them are at those two.
    assert (await claim(talk, 9, **terms, worker="two"))["turns"] == []


@pytest.mark.parametrize("and_then", ["is sent slowly", "is in doubt", "cannot be sent now"])
async def test_what_a_flow_has_answered_takes_no_place_of_anybody(
    database: DirectDatabase, shops: dict[str, int], and_then: str
):
    """Nobody's flow works on it, whoever sends it, and for however long it waits for its line."""
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 2)
    turns = (await claim(talk, 2, objects=True))["turns"]
    for turn in turns:
        await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 60})
    await flood(talk, shops["quiet"], 2, due="1 second")
    terms = {"n8n_max_in_flight": 2, "tenant_max": 2, "objects": True, "worker": "two"}
    assert (await claim(talk, 5, **terms))["turns"] == []
    for turn in turns:
        reply = {**held(turn), "parts": ["Oi!", "Tudo bem?"], "handler": "n8n"}
        await talk.database.call("save_reply", reply)
        begun = await talk.begin(turn, "Oi!")
        if and_then == "is in doubt":
            doubt = {**held(turn), "message_id": begun["message_id"], "error": "no answer"}
            await talk.database.call("doubt_send", {**doubt, "check_after": 30})
        else:
            await talk.finish(turn, begun, f"3EB0{turn['turn_id']:08X}", turn["session"]["jid"])
    for turn in turns if and_then == "cannot be sent now" else ():
        await talk.fail(turn, "away", base_seconds=30)
    assert owners(await claim(talk, 5, **terms)) == {"quiet": 2}


async def test_who_has_an_llm_key_of_its_own_waits_for_no_place_in_n8n(
    database: DirectDatabase, shops: dict[str, int]
):
    """No flow makes its replies; those of its tenants take turns as the others do."""
    talk = Conversation(database)
    own = {name: await talk.open_shop(name, llm_api_key="sealed") for name in ("one", "two")}
    await flood(talk, shops["crowded"], 5)
    terms = {"n8n_max_in_flight": 2, "objects": True}
    first = await claim(talk, 9, **terms)
    assert (owners(first), first["n8n_full"]) == ({"crowded": 2}, True)
    await talk.sql("update turns set handler = 'n8n' where held")
    for tenant_id in own.values():
        await flood(talk, tenant_id, 3, due="1 second")
    full = await claim(talk, 9, **terms)
    assert (full["turns"], full["n8n_full"]) == ([], True)
    one = await claim(talk, 1, without_n8n=True)
    assert owners(one) == {"one": 1}
    two = await claim(talk, 1, without_n8n=True, after_tenant=one["after_tenant"])
    assert owners(two) == {"two": 1}
    await talk.travel(seconds=61)  # of "crowded" some leases have run out, too
    rest = await claim(talk, 9, without_n8n=True, after_tenant=two["after_tenant"])
    assert (owners(rest), rest["more"]) == ({"one": 3, "two": 3}, False)


async def test_a_turn_that_dies_at_a_claim_without_n8n_is_told_too(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 1)
    (turn,) = (await claim(talk, 1))["turns"]
    await talk.travel(seconds=61)
    claimed = await claim(talk, 1, without_n8n=True, max_attempts=1, answer_within_minutes=600)
    assert [each["turn_id"] for each in claimed["exhausted"]] == [turn["turn_id"]]
    assert (claimed["turns"], claimed["more"]) == ([], False)


async def test_a_new_customer_does_not_wait_for_all_who_have_waited_long(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 200, due="1 hour")
    await flood(talk, shops["crowded"], 1, due="1 second")
    claimed = await claim(talk, 3)
    assert 201 in {turn["turn_id"] for turn in claimed["turns"]}


async def test_nor_do_the_old_ones_wait_for_ever(database: DirectDatabase, shops: dict[str, int]):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 1, due="1 hour")
    for _ in range(100):
        await flood(talk, shops["crowded"], 1, due="1 second")
        if (await claim(talk, 1))["turns"][0]["turn_id"] == 1:
            return
    pytest.fail("the oldest was not claimed among a hundred")


@pytest.mark.spoils
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    busy=st.integers(min_value=1, max_value=30),
    places=st.integers(min_value=1, max_value=20),
    backlog=st.integers(min_value=1, max_value=5),
    quiet_is=st.sampled_from(["first", "last"]),
)
async def test_a_quiet_tenants_turn_is_claimed_within_one_round(
    database: DirectDatabase, busy: int, places: int, backlog: int, quiet_is: str
):
    """Whatever the others have waiting: each of them is served once before it, at most."""
    talk = Conversation(database)
    await talk.sql("truncate tenants cascade")
    names = [f"busy{number}" for number in range(busy)]
    names.insert(0 if quiet_is == "first" else busy, "quiet")
    tenants = {name: await talk.open_shop(name) for name in names}
    for name in names[::-1] if quiet_is == "first" else names:
        if name != "quiet":
            await flood(talk, tenants[name], backlog * places)
    filled = await claim(talk, places)
    await flood(talk, tenants["quiet"], 1, due="1 second")
    after, ends = filled["after_tenant"], [turn["turn_id"] for turn in filled["turns"]]
    for _ in range(busy + 1):  # one place falls free after the other
        if not ends:
            break
        await talk.sql("update turns set state = 'sent' where id = $1", ends.pop(0))
        claimed = await claim(talk, 1, after_tenant=after)
        if "quiet" in owners(claimed):
            return
        after = claimed["after_tenant"]
        ends += [turn["turn_id"] for turn in claimed["turns"]]
    pytest.fail("the quiet tenant waited for more than a round")


@pytest.mark.spoils
async def test_a_round_goes_on_where_the_last_one_ended(database: DirectDatabase):
    talk = Conversation(database)
    names = [f"shop{number}" for number in range(7)]
    for tenant_id in [await talk.open_shop(name) for name in names]:
        await flood(talk, tenant_id, 300)  # more than are due at once mostly
    after, served = 0, []
    for _ in range(14):
        claimed = await claim(talk, 1, after_tenant=after)
        after = claimed["after_tenant"]
        served += owners(claimed)
        await talk.sql("update turns set state = 'sent' where state = 'running'")
    assert sorted(served[:7]) == sorted(served[7:]) == names


async def test_what_is_too_old_is_not_answered(talk: Conversation):
    for number in range(6):
        if number == 4:
            await talk.travel(hours=2)
        await talk.maria_writes("oi", jids=[f"55119000000{number}@s.whatsapp.net"])
    await talk.travel(seconds=11)
    await talk.sql("update turns set retried_at = hybridflow.clock() where id = 4")
    claimed = await claim(talk, 20, answer_within_minutes=60)
    assert {turn["turn_id"] for turn in claimed["turns"]} == {4, 5, 6}
    assert claimed["more"]
    old = await talk.sql("select id, state, reason from turns where reason = 'too_old' order by id")
    assert [(row["id"], row["state"]) for row in old] == [(1, "dead"), (2, "dead"), (3, "dead")]


async def test_nor_by_the_tenants_own_rule(talk: Conversation):
    await talk.maria_writes("oi", jids=[MARIA])
    await talk.travel(hours=2)
    await talk.sql("update tenants set answer_within_minutes = 180")
    assert len((await claim(talk, 20, answer_within_minutes=60))["turns"]) == 1


async def test_a_contact_who_writes_without_end_takes_one_place(talk: Conversation):
    for number in range(200):
        await talk.maria_writes(f"mensagem {number}", jids=[MARIA])
    await talk.maria_writes("oi, sou o João", jids=[JOAO])
    await talk.travel(seconds=11)
    claimed = await talk.claim(limit=2)
    assert {turn["session"]["jid"] for turn in claimed} == {MARIA, JOAO}


async def test_leases_that_have_run_out_are_no_way_past_the_others(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 40)
    assert owners(await claim(talk, 20)) == {"crowded": 20}
    await talk.travel(seconds=61)
    await flood(talk, shops["quiet"], 3, due="1 second")
    assert owners(await claim(talk, 4)) == {"crowded": 2, "quiet": 2}


async def test_of_one_tenant_what_was_begun_goes_on_before_what_is_new(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 4)
    begun = await claim(talk, 2)
    await talk.travel(seconds=61)
    again = await claim(talk, 3)
    assert {turn["turn_id"] for turn in begun["turns"]} < {
        turn["turn_id"] for turn in again["turns"]
    }


async def test_nor_do_sends_in_doubt_that_cannot_be_looked_up_keep_what_is_new_from_it(
    database: DirectDatabase, shops: dict[str, int]
):
    """Each is put aside and tried again, for hours, and there are more than places."""
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 5)
    for turn in (await claim(talk, 5))["turns"]:
        begun = await talk.begin(turn, "Oi!")
        doubt = {**held(turn), "message_id": begun["message_id"], "error": "no answer"}
        await talk.database.call("doubt_send", {**doubt, "check_after": 0})
    await flood(talk, shops["crowded"], 1, due="1 second")
    for _ in range(50):
        claimed = await claim(talk, 1)
        if claimed["turns"][0]["turn_id"] == 6:
            return
        await talk.sql("update turns set worker = null, lease_until = now() where held")
    pytest.fail("the new one was not claimed among fifty")


SHARES = {"own_times": 3}


async def test_what_a_worker_is_at_counts_though_its_leases_have_run_out(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 40)
    assert owners(await claim(talk, 20, own={}, **SHARES)) == {"crowded": 15}
    own = {str(shops["crowded"]): 15}
    for seconds in (0, 61):
        await talk.travel(seconds=seconds)
        again = await claim(talk, 5, own=own, **SHARES)
        assert again["turns"] == []
        due = again["next_due_at"]  # the end of one is what it waits for
        assert due is None or due > again["now"]
    await flood(talk, shops["quiet"], 9, due="1 second")
    assert owners(await claim(talk, 5, own=own, **SHARES)) == {"quiet": 4}


async def test_who_waits_for_its_own_server_has_no_seat_and_counts_all_the_same(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 40)
    crowded = str(shops["crowded"])
    most = {"own_max": 15, **SHARES}
    assert owners(await claim(talk, 20, own={}, sitting={}, **most)) == {"crowded": 15}
    # All wait for their server: all seats are free, but it has as many turns as it may have.
    full = await claim(talk, 20, own={crowded: 15}, sitting={}, **most)
    assert full["turns"] == []
    assert not full["more"]
    await flood(talk, shops["quiet"], 40, due="1 second")
    quiet = await claim(talk, 20, own={crowded: 15}, sitting={}, **most)
    assert owners(quiet) == {"quiet": 15}  # nobody's turns keep it from its whole share


async def test_of_its_turns_those_that_sit_count_for_its_seats(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 40)
    crowded = str(shops["crowded"])
    most = {"own_max": 15, **SHARES}
    some = await claim(talk, 15, own={crowded: 10}, sitting={crowded: 5}, **most)
    assert owners(some) == {"crowded": 5}
    none = await claim(talk, 5, own={crowded: 14}, sitting={crowded: 15}, **most)
    assert none["turns"] == []


async def test_the_last_places_are_left_to_who_has_none(
    database: DirectDatabase, shops: dict[str, int]
):
    talk = Conversation(database)
    greedy = {name: await talk.open_shop(name) for name in ("greedy", "greedier")}
    for tenant_id in greedy.values():
        await flood(talk, tenant_id, 40)
    assert owners(await claim(talk, 20, own={}, **SHARES)) == {"greedy": 9, "greedier": 9}
    await talk.travel(seconds=61)
    await flood(talk, shops["quiet"], 1, due="1 second")
    own = {str(tenant_id): 9 for tenant_id in greedy.values()}
    assert owners(await claim(talk, 2, own=own, **SHARES)) == {"quiet": 1}


async def test_of_few_places_one_is_to_be_had(database: DirectDatabase, shops: dict[str, int]):
    talk = Conversation(database)
    await flood(talk, shops["crowded"], 9)
    assert owners(await claim(talk, 1, own={}, own_times=0.1)) == {"crowded": 1}


# Who has written again while the reply is being made has a due turn that cannot be claimed


async def behind(talk: Conversation, tenant_id: int, turns: int, *, beside: bool = False) -> None:
    """So many due turns of the tenant, each behind one of its session that is under way."""
    await talk.sql(
        "with s as (insert into sessions (tenant_id, phone_jid)"
        " select $1::bigint, (5511700000000 + $1::bigint * 10000 + g) || '@s.whatsapp.net'"
        " from generate_series(1, $2::integer) as g returning id, tenant_id),"
        " a as (insert into turns (tenant_id, session_id, state, worker, lease_until, run_after,"
        "  debounce_until, token_hash, beside)"
        "  select tenant_id, id, 'sending', 'other', now() + interval '5 minutes', now(), now(),"
        "  sha256('x'), $3::boolean from s)"
        " insert into turns (tenant_id, session_id, run_after, debounce_until)"
        " select tenant_id, id, now() - interval '3 seconds', now() from s",
        tenant_id,
        turns,
        beside,
    )


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_turns_that_cannot_be_claimed_keep_no_tenant_from_its_turn(
    talk: Conversation, limit: int, beside: bool
):
    for number in range(2 * limit + 1):
        await behind(talk, await talk.open_shop(f"busy{number}"), 1, beside=beside)
    await flood(talk, await talk.open_shop("quiet"), 1, due="1 minute")
    assert owners(await claim(talk, limit)) == {"quiet": 1}


async def test_nor_where_they_are_many(talk: Conversation):
    for number in range(60):
        await behind(talk, await talk.open_shop(f"busy{number}"), 5)
    await flood(talk, await talk.open_shop("quiet"), 1, due="1 minute")
    after, looks = 0, []
    for _ in range(3):
        claimed = await claim(talk, 1, after_tenant=after)
        after = claimed["after_tenant"]
        looks.append(after)
        if claimed["turns"]:
            break
        assert claimed["more"]
    assert owners(claimed) == {"quiet": 1}
    assert len(set(looks)) == len(looks)  # never the same question twice


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("turns", [1, 150])
async def test_where_nothing_can_be_claimed_it_is_not_asked_again_at_once(
    talk: Conversation, turns: int, beside: bool
):
    await behind(talk, 1, turns, beside=beside)
    claimed = await claim(talk, 1)
    assert (claimed["turns"], claimed["more"]) == ([], False)
    assert claimed["next_due_at"] > claimed["now"]


async def test_a_round_that_was_cut_goes_on_where_others_hold_what_was_offered(
    database_url: str,
):
    database = await DirectDatabase.connect(database_url, size=2)
    talk = Conversation(database)
    tenants = [await talk.open_shop(f"shop{number}") for number in range(5)]
    for tenant_id in tenants:
        await flood(talk, tenant_id, 1)
    async with database._pool.acquire() as other, other.transaction():
        await other.execute("select from turns where tenant_id <= $1 for update", tenants[1])
        first = await claim(talk, 1)
        assert (first["turns"], first["more"]) == ([], True)
        second = await claim(talk, 1, after_tenant=first["after_tenant"])
        assert [turn["tenant"]["tenant_id"] for turn in second["turns"]] == [tenants[2]]
    await database.close()


async def test_of_a_tenant_with_many_that_cannot_be_claimed_the_others_are(talk: Conversation):
    await behind(talk, 1, 150)
    await flood(talk, 1, 1, due="1 hour")
    assert len((await claim(talk, 1))["turns"]) == 1
