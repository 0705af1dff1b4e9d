"""Who holds one row and asks for another never meets who has them the other way round.

A deadlock is ended by PostgreSQL and asked again, but it is a second in which nobody gets on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, POLICY, Conversation
from tests.state.conversation import held as turn_of
from tests.state.test_relays import (
    SAID,
    STAFF,
    begin,
    claim_one,
    held,
    left,
    say_word,
    settle,
    staff_write,
    told,
    write,
)

_IS_WAITED_FOR = """
    select exists (
        select from pg_locks as l
        where not l.granted and pg_backend_pid() = any(pg_blocking_pids(l.pid))
    )
"""
_ALL_SAID = """
    with s as (select id from sessions for update)
    select m.id from messages as m, s where m.session_id = s.id for update of m
"""
_ITS_FLOW_DIED = (
    "select hybridflow.note_unanswered(t, 'half_said', 'x') from turns as t where t.waiting"
)
_ERASING_RELAYS = """
    with s as (select hybridflow.lock_contact(1, $1))
    select r.id from relays as r, s for update of r
"""
_ERASED: Json = {"tenant_id": 1, "jids": [MARIA], "hashes": {MARIA: ["00" * 32]}}


@dataclass(frozen=True)
class Two:
    """The same shop over two connections."""

    ours: Conversation
    theirs: Conversation

    async def meet(self, begun: list[Any], asked: list[Any], ended: list[Any]) -> tuple[Any, Any]:
        """They begin; we ask, and wait for them; they ask for more in the same transaction."""
        pool = self.theirs.database._pool
        async with asyncio.timeout(20):
            async with pool.acquire() as theirs, theirs.transaction():
                await theirs.fetch(*begun)
                asking = asyncio.create_task(self.ours.value(*asked))
                while not await theirs.fetchval(_IS_WAITED_FOR):
                    assert not asking.done(), asking
                answer = await theirs.fetchval(*ended)
            return answer, await asking


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[Two]:
    connections = [await DirectDatabase.connect(database_url, size=1) for _ in range(2)]
    ours, theirs = (Conversation(connection) for connection in connections)
    try:
        await ours.open_shop()
        for talk in (ours, theirs):
            await talk.sql("set deadlock_timeout = '10ms'")
        yield Two(ours, theirs)
    finally:
        for connection in connections:
            await connection.close()


async def test_who_erases_a_contact_and_who_sends_the_staff_their_word(two: Two):
    """The staff's conversation is another one: nothing but the relay itself keeps them apart."""
    talk = two.ours
    await told(talk)
    await staff_write(talk, SAID)
    relay = await claim_one(talk)
    await left(talk, await begin(talk, relay))
    await settle(talk, relay, outcome="sent")
    word = await say_word(talk, relay)
    named = {"tenant_id": 1, "message_id": word["message_id"], "chosen_id": word["chosen_id"]}
    await talk.database.call("fail_send", named)
    again, erased = await two.meet(
        ["select * from hybridflow.hold_relay($1, true)", held(relay)],
        ["select public.erase_contact($1)", _ERASED],
        [
            "select public.begin_word_send($1)",
            {**held(relay), "body": "Sent.", "lease_seconds": 45},
        ],
    )
    assert again["ok"]
    assert erased["erased"]["relays"] == 1


async def test_who_settles_a_relay_and_who_erases_its_contact(two: Two):
    """So does who merges two sessions: their messages first, then their relays."""
    talk = two.ours
    await talk.maria_writes("oi")
    await write(talk)
    relay = await claim_one(talk)
    erased, settled = await two.meet(
        [_ALL_SAID],
        ["select public.settle_relay($1)", {**held(relay), "outcome": "failed", "over": True}],
        ["select public.erase_contact($1)", _ERASED],
    )
    assert erased["erased"]["relays"] == 1
    assert settled == {"refused": "unknown_relay"}


async def maria_is_named(talk: Conversation) -> None:
    """In the notice of a failure, which nobody was told yet; and she has written again."""
    await talk.set_rule("notify_number", STAFF.partition("@")[0])
    await talk.maria_writes("oi")
    await talk.fail(await talk.claim_one(), "permanent", cause="send_failed")
    await talk.maria_writes("oi?")


async def test_who_erases_a_contact_and_who_ends_their_turn_without_the_session(two: Two):
    """A claim does: a flow that fell silent is closed, and told of in the tenant's one notice."""
    await maria_is_named(two.ours)
    _, erased = await two.meet(
        ["select from turns for update"],
        ["select public.erase_contact($1)", _ERASED],
        [_ITS_FLOW_DIED],
    )
    assert erased["erased"]["turns"] == 2


async def test_who_erases_a_contact_and_whose_notice_of_them_did_not_leave(two: Two):
    """It is the staff's conversation, and its message comes before the notice."""
    talk = two.ours
    await maria_is_named(talk)
    asked = {"limit": 9, "lease_seconds": 60, "max_attempts": 5, "kinds": ["unanswered"]}
    (notice,) = (await talk.database.call("claim_notices", asked))["notices"]
    told = {"notice_id": notice["notice_id"], "token": notice["token"], "lease_seconds": 45}
    begun = await talk.database.call("begin_notice_send", {**told, "body": "Maria"})
    failed, erased = await two.meet(
        [f"select from messages where id = {begun['message_id']} for update"],
        ["select public.erase_contact($1)", _ERASED],
        ["select public.fail_send($1)", {"tenant_id": 1, "message_id": begun["message_id"]}],
    )
    assert failed["ok"]
    assert erased["erased"]["messages"] == 2


async def test_who_erases_a_contact_and_who_prunes_what_the_staff_were_told_of_them(two: Two):
    """Where a message goes its relay forgets it: of both the relay comes first."""
    talk = two.ours
    await told(talk)
    await staff_write(talk, SAID)
    relay = await claim_one(talk)
    await settle(talk, relay, outcome="no_media")
    word = await say_word(talk, relay)
    await left(talk, word)
    await settle(talk, relay, over=True)
    await talk.travel(days=99)
    await two.meet(
        [_ERASING_RELAYS, [MARIA]],
        ["select public.prune($1)", {"retention_days": 30}],
        [f"update messages set body = '' where id = {word['message_id']} returning id"],
    )
    assert await talk.value("select count(*) from relays where word_message_id is not null") == 0


_OPEN = "select array_agg(cause order by cause) from outages where ended_at is null"


async def begin_outage(talk: Conversation, cause: str, *, is_told: bool = False) -> None:
    await talk.sql("select hybridflow.begin_outage(1, $1, 'it did not work')", cause)
    if is_told:
        await talk.sql("update notices set state = 'delivered' where kind = 'unanswered'")


async def test_who_begins_an_outage_and_who_ends_two_others(two: Two):
    """One notice tells of all that began, and one of all that ended: each may want both."""
    talk = two.ours
    await begin_outage(talk, "budget", is_told=True)
    await talk.sql("select hybridflow.end_outages('tenant 1', 1)")
    await talk.sql("update notices set attempt = 1 where waiting")  # it is being told
    await begin_outage(talk, "llm_away", is_told=True)
    await begin_outage(talk, "misconfigured")
    await two.meet(
        ["select hybridflow.end_outages('tenant 1', 1)"],
        ["select hybridflow.begin_outage(1, 'budget', 'it did not work')"],
        ["select hybridflow.end_outages('llm anthropic', null)"],
    )
    assert await talk.value(_OPEN) == ["budget"]
    waiting = await talk.sql(
        "select n.kind, o.cause from notices as n"
        " cross join jsonb_array_elements_text(n.facts -> 'outages') as i (id)"
        " inner join outages as o on o.id = i.id::bigint where n.waiting order by 1, 2"
    )
    assert [(row["kind"], row["cause"]) for row in waiting] == [("answered_again", "llm_away")]


async def test_who_ends_outages_of_all_waits_for_the_notice_of_none(two: Two):
    """A reply of one tenant ends them for all: another's are ended by the next one."""
    await begin_outage(two.ours, "llm_away")
    async with two.theirs.database._pool.acquire() as theirs, theirs.transaction():
        await theirs.fetch("select from notices for update")
        async with asyncio.timeout(10):
            await two.ours.sql("select hybridflow.end_outages('llm anthropic', null)")
        assert await two.ours.value(_OPEN) == ["llm_away"]
    await two.ours.sql("select hybridflow.end_outages('llm anthropic', null)")
    assert await two.ours.value(_OPEN) is None


@pytest.mark.parametrize("by", ["begin_send", "save_reply"])
async def test_a_reply_that_ends_an_outage_and_a_failure_that_begins_one(two: Two, by: str):
    """A failure has the day's budget, and asks for the notice; so does who is over the budget."""
    talk = two.ours
    await begin_outage(talk, "misconfigured")
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    asked = {**turn_of(turn), "tokens": 1000, "policy": POLICY}
    assert (await talk.database.call("reserve_budget", asked))["ok"]
    reply = {"parts": ["Olá!"], "handler": "fallback", "provider": "anthropic", "tokens_in": 9}
    more = {"part": 0, "body": "Olá!", "lease_seconds": 45, "reply": reply}
    _, answer = await two.meet(
        ["select from spending where session_id is null for update"],
        [f"select public.{by}($1)", turn_of(turn) | (more if by == "begin_send" else reply)],
        ["select hybridflow.begin_outage(1, 'crashed', 'it did not work')"],
    )
    assert answer["ok"]
    assert await talk.value("select max(tokens) from spending") == 9
    # Both are known, and neither is told: the reply proves that what was about the tenant works.
    assert await talk.value("select count(*) from outages where ended_at is null") == 0
    assert await talk.value("select count(*) from notices where waiting") == 0


_ASKED: Json = {
    "limit": 9, "lease_seconds": 60, "max_attempts": 1, "history_limit": 5, "worker": "two",
    "objects": True, "answer_within_minutes": 60,
}  # fmt: skip


async def three_that_end_at_the_next_claim(talk: Conversation) -> None:
    """A flow that fell silent, a last attempt that did, and one that is too old; and a notice."""
    await talk.maria_writes("oi", jids=["5511955550001@s.whatsapp.net"])
    await talk.maria_writes("oi", jids=["5511955550002@s.whatsapp.net"])
    await talk.travel(seconds=11)
    spoke, _ = await talk.claim()
    await talk.database.call("forward_turn", {**turn_of(spoke), "lease_seconds": 60})
    await talk.finish(spoke, await talk.begin(spoke, "Sim"), "3EB0000001")
    await talk.maria_writes("oi", jids=["5511955550003@s.whatsapp.net"])
    await talk.travel(seconds=11)
    (old,) = await talk.claim()
    assert old["turn_id"] == 3
    await talk.sql("update turns set attempt = 0 where id = 3")  # it has another one
    await talk.travel(hours=2)
    await talk.maria_writes("oi", jids=["5511955550004@s.whatsapp.net"])
    await talk.travel(seconds=11)
    await begin_outage(talk, "contact_budget")


@pytest.mark.parametrize("held", ["sessions", "tenants", "notices"])
async def test_a_claim_waits_for_nobody_who_has_what_it_would_end(two: Two, held: str):
    """Who has the session may want the turn next, and all other conversations would wait."""
    talk = two.ours
    await three_that_end_at_the_next_claim(talk)
    ended = "select id, state from turns where state in ('sent', 'dead') order by id"
    async with two.theirs.database._pool.acquire() as theirs, theirs.transaction():
        await theirs.fetch(f"select from {held} for update")
        await talk.sql("set lock_timeout = '1s'")
        first = await talk.database.call("claim_turns", _ASKED)
        assert 4 in {turn["turn_id"] for turn in first["turns"]}
        assert 3 not in {turn["turn_id"] for turn in first["turns"]}
        assert first["next_due_at"] <= first["now"]
        assert await talk.sql(ended) == []
    again = await talk.database.call("claim_turns", _ASKED)
    assert [turn["turn_id"] for turn in again["too_old"]] == [3]
    assert [turn["turn_id"] for turn in again["exhausted"]] == [2]
    lapsed = "select turn_id from turn_attempts where outcome = 'lapsed' order by turn_id"
    assert [row["turn_id"] for row in await talk.sql(lapsed)] == [1, 2, 3]


async def test_a_dead_flow_that_cannot_be_closed_now_is_not_worked_on_either(two: Two):
    """Whoever claimed it would close it as if its flow had said all."""
    talk = two.ours
    await three_that_end_at_the_next_claim(talk)
    asked = _ASKED | {"max_attempts": 5}
    async with two.theirs.database._pool.acquire() as theirs, theirs.transaction():
        await theirs.fetch("select from sessions for key share")
        first = await talk.database.call("claim_turns", asked)
        assert 1 not in {turn["turn_id"] for turn in first["turns"]}
        assert first["next_due_at"] <= first["now"]
    await talk.database.call("claim_turns", asked)
    told = await talk.sql("select state, reason, incomplete from turns where id = 1")
    assert [tuple(row.values()) for row in told] == [("sent", "flow_died", True)]


async def test_nor_does_one_die_whose_conversation_was_let_go_a_moment_later(two: Two):
    """It has answered: it is closed by the next claim, whatever its attempts are."""
    await three_that_end_at_the_next_claim(two.ours)
    assert await two.ours.value("select hybridflow.bury_lapsed(1, 60)") == [2]
