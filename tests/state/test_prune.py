"""What is past its time is archived or deleted, and never something that is still needed."""

import asyncio
from typing import Any

import asyncpg
import pytest

from router.errors import Invalid
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, Conversation, held
from tests.state.work import many_messages, rows_read

YEAR = 525_600  # minutes in which a message may be answered


async def prune(talk: Conversation, **how: Any) -> Json:
    return await talk.database.call("prune", how)


async def pruned(talk: Conversation, **how: Any) -> dict[str, int]:
    """What one call did to what was said, without the zeros."""
    done = await prune(talk, **how)
    return {name: count for name, count in done.items() if count and name != "changes"}


async def count(talk: Conversation, table: str) -> int:
    number: int = await talk.value(f"select count(*) from {table}")
    return number


async def an_old_conversation(talk: Conversation, days: int = 40) -> None:
    """A question and its answer, `days` ago."""
    await talk.maria_writes("tem bolo?")
    await talk.answer("Tem, de cenoura.")
    await talk.travel(days=days)


async def test_changes_go_after_their_minutes_though_no_router_runs(talk: Conversation):
    await talk.maria_writes("oi")
    assert (await prune(talk))["changes"] == 0
    await talk.travel(minutes=11)
    told = await count(talk, "changes")
    assert (await prune(talk))["changes"] == told > 0
    assert await count(talk, "changes") == 0


async def test_without_a_retention_conversations_are_kept_for_ever(talk: Conversation):
    await an_old_conversation(talk, days=4000)
    assert await pruned(talk) == {"events": 1}
    assert (await count(talk, "messages"), await count(talk, "turns")) == (2, 1)


async def test_events_are_forgotten_after_seven_days_and_not_before(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.travel(days=6, hours=23)
    assert await pruned(talk) == {}
    await talk.travel(hours=2)
    assert await pruned(talk) == {"events": 1}
    assert await count(talk, "messages") == 1


async def test_events_are_never_forgotten_earlier_than_they_may_come_again(talk: Conversation):
    with pytest.raises(Invalid, match="events_days must be at least 7"):
        await prune(talk, events_days=6)
    for wrong in ({"batch": 0}, {"batch": 100_001}, {"retention_days": 0}):
        with pytest.raises(Invalid, match=f"{next(iter(wrong))} must be"):
            await prune(talk, **wrong)


async def test_old_messages_are_archived_whole_and_turns_deleted(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await an_old_conversation(talk)
    before = await talk.sql("select * from messages order by id")
    done = await pruned(talk)
    assert done == {"events": 1, "messages_archived": 2, "turns": 1}
    assert (await count(talk, "messages"), await count(talk, "turns")) == (0, 0)
    archived = await talk.sql("select * from messages_archive order by id")
    assert [{k: v for k, v in row.items() if k != "archived_at"} for row in archived] == before
    assert await count(talk, "sessions") == 1


async def test_old_messages_are_deleted_where_the_tenant_says_so(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await talk.set_rule("on_retention", "delete")
    await an_old_conversation(talk)
    assert await pruned(talk) == {"events": 1, "messages_deleted": 2, "turns": 1}
    assert await count(talk, "messages_archive") == 0


async def test_each_tenant_has_its_own_time_or_the_deployments(talk: Conversation):
    await talk.open_shop("pharmacy", retention_days=100)
    await talk.open_shop("bakery", retention_days=10)
    for instance in ("shop", "pharmacy", "bakery"):
        await talk.maria_writes(f"oi {instance}", instance=instance)
        await talk.travel(seconds=11)
        for turn in await talk.claim():
            await talk.fail(turn, "permanent")
    await talk.travel(days=40)
    done = await prune(talk, retention_days=50)
    assert (done["messages_archived"], done["turns"]) == (1, 1)
    assert await talk.value("select body from messages_archive") == "oi bakery"
    done = await prune(talk, retention_days=30)
    assert (done["messages_archived"], done["turns"]) == (1, 1)
    assert await talk.value("select body from messages") == "oi pharmacy"


async def test_what_is_younger_stays(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await an_old_conversation(talk, days=20)
    await talk.maria_writes("e hoje?")
    await talk.answer("Hoje também.")
    await talk.travel(days=15)
    assert (await prune(talk))["messages_archived"] == 2
    assert [body for _, body in await talk.sayings()] == ["e hoje?", "Hoje também."]
    assert await talk.turn_states() == ["sent"]


async def test_nothing_of_a_session_with_unfinished_work_is_touched(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await talk.set_rule("answer_within_minutes", YEAR)
    await an_old_conversation(talk)
    await talk.maria_writes("e hoje?")
    assert await pruned(talk) == {"events": 2}  # pending
    turn = await talk.claim_one()
    assert await pruned(talk) == {}  # running
    await talk.save(turn, "Hoje também.")
    begun = await talk.begin(turn, "Hoje também.")
    assert await pruned(talk) == {}  # sending
    await talk.finish(turn, begun, "3EB0FFFF")
    await talk.database.call("finish_turn", held(turn))
    assert (await prune(talk))["messages_archived"] == 2


async def test_a_notice_is_kept_until_it_was_told(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    for state in ("pending", "delivered", "dead"):
        await talk.sql(
            "insert into notices (tenant_id, kind, facts, next_at, state, finished_at) select id,"
            " 'handoff', '{}', now(), $1, case when $1 <> 'pending' then now() end from tenants",
            state,
        )
    await talk.travel(days=31)
    assert await pruned(talk) == {"notices": 2}
    assert await talk.value("select state from notices") == "pending"


async def test_old_spending_and_old_tombstones_go(talk: Conversation):
    await talk.sql(
        "insert into spending (tenant_id, day) select t.id, current_date - d"
        " from tenants t, unnest(array[399, 402]) d"
    )
    await talk.sql(
        "insert into erased_messages (tenant_id, wa_id_hash, erased_at) select t.id,"
        " sha256(d::text::bytea), now() - make_interval(days => d)"
        " from tenants t, unnest(array[29, 31]) d"
    )
    assert await pruned(talk) == {"spending": 1, "erased_messages": 1}


async def test_a_batch_is_bounded_and_says_whether_there_is_more(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    for number in range(5):
        await talk.maria_writes(f"oi {number}")
    await talk.answer()
    await talk.travel(days=40)
    calls = 0
    while (done := await prune(talk, batch=2))["more"]:
        calls += 1
        assert done["events"] <= 2
        assert done["messages_archived"] <= 2
        assert calls < 10
    assert await count(talk, "messages_archive") == 6
    assert await count(talk, "processed_events") == 0
    assert await pruned(talk, batch=2) == {}


async def test_the_oldest_go_first(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    for text in ("um", "dois", "três"):
        await talk.maria_writes(text)
        await talk.travel(minutes=1)
    await talk.answer()
    await talk.travel(days=40)
    await prune(talk, batch=2)
    rows = await talk.sql("select body from messages_archive order by id")
    assert [row["body"] for row in rows] == ["um", "dois"]


# What comes again


async def test_a_message_that_was_pruned_is_not_answered_when_it_comes_again(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await talk.set_rule("answer_within_minutes", YEAR)
    question = talk.message("tem bolo?")
    greeting = talk.message("Bom dia!", from_me=True)
    await talk.ingest(question, greeting)
    await talk.sql("update sessions set is_paused = false")
    await talk.travel(days=40)
    await prune(talk)
    assert await count(talk, "processed_events") == 0
    for event in (question, greeting):
        (decision,) = await talk.ingest(event)
        assert (decision["outcome"], decision["decision"]) == ("ignored", "too_old")
    assert await count(talk, "messages") == 0
    assert "pending" not in await talk.turn_states()
    assert not (await talk.session())["is_paused"]


async def test_nor_when_the_retention_was_made_longer_since(talk: Conversation):
    await talk.set_rule("retention_days", 30)
    await talk.set_rule("answer_within_minutes", YEAR)
    question = talk.message("tem bolo?")
    await talk.ingest(question)
    await talk.answer()
    await talk.travel(days=40)
    await prune(talk)
    await talk.set_rule("retention_days", None)
    (decision,) = await talk.ingest(question)
    assert decision["decision"] == "too_old"


async def test_a_message_whose_event_alone_was_pruned_is_known(talk: Conversation):
    question = talk.message("tem bolo?")
    await talk.ingest(question)
    await talk.answer()
    await talk.travel(days=8)
    assert await pruned(talk) == {"events": 1}
    (decision,) = await talk.ingest(question)
    assert decision["decision"] == "known_message"


async def test_a_message_that_comes_again_while_it_is_pruned_waits_and_is_not_recorded(
    talk: Conversation, database_url: str
):
    await talk.set_rule("retention_days", 30)
    await talk.set_rule("answer_within_minutes", YEAR)
    question = talk.message("tem bolo?")
    await talk.ingest(question)
    await talk.answer()
    await talk.travel(days=40)
    pruner = await asyncpg.connect(database_url)
    seconds = talk.offset.total_seconds()
    await pruner.execute(f"set hybridflow.clock_offset = '{seconds} seconds'")
    transaction = pruner.transaction()
    await transaction.start()
    await pruner.execute("select prune('{}')")
    again = asyncio.ensure_future(talk.ingest(question))
    while not await pruner.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock'"
    ):
        await asyncio.sleep(0.01)
    await transaction.commit()
    (decision,) = await again
    await pruner.close()
    assert decision["decision"] == "too_old"
    assert await count(talk, "messages") == 0


async def test_archived_messages_go_along_when_two_sessions_turn_out_to_be_one_person(
    talk: Conversation,
):
    await talk.set_rule("retention_days", 30)
    for jid in (MARIA, "201955550001001@lid"):
        await talk.maria_writes("oi", jids=(jid,))
    await talk.travel(seconds=11)
    for turn in await talk.claim():
        await talk.fail(turn, "permanent")
    await talk.travel(days=40)
    await prune(talk)
    await talk.maria_writes("sou eu", jids=(MARIA, "201955550001001@lid"))
    assert await talk.value("select count(distinct session_id) from messages_archive") == 1
    assert await count(talk, "messages_archive") == 2


async def test_the_archive_has_every_column_of_messages(talk: Conversation):
    columns = (
        "select attname, atttypid from pg_attribute where attrelid = $1::text::regclass"
        " and attnum > 0 and not attisdropped and attname <> 'archived_at' order by attname"
    )
    kept = await talk.sql(columns, "messages_archive")
    assert kept == await talk.sql(columns, "messages")


# How much there is


async def test_stats_count_a_tenants_rows_and_nobody_elses(talk: Conversation):
    tenant_id = await talk.open_shop("pharmacy", retention_days=30)
    await talk.maria_writes("oi")
    await talk.maria_writes("aspirina?", instance="pharmacy")
    await talk.maria_writes("há?", instance="pharmacy", jids=(JOAO,))
    stats = (await talk.database.call("get_tenant_stats", {"tenant_id": tenant_id}))["stats"]
    rows = {table: amount["rows"] for table, amount in stats["tables"].items()}
    assert rows == {
        "sessions": 2,
        "messages": 2,
        "messages_archive": 0,
        "turns": 2,
        "notices": 0,
        "processed_events": 2,
    }
    assert stats["tables"]["messages"]["bytes"] > 100
    assert stats["bytes"] == sum(amount["bytes"] for amount in stats["tables"].values())
    assert stats["oldest_message_at"] is not None
    assert stats["pruned_before"] is None


async def test_a_message_that_is_deleted_takes_its_events_with_it_and_one_archived_does_not(
    talk: Conversation,
):
    await talk.set_rule("retention_days", 2)
    for on_retention, left in (("delete", 0), ("archive", 1)):
        await talk.set_rule("on_retention", on_retention)
        await talk.sql("delete from processed_events")
        await talk.maria_writes(f"to {on_retention}", jids=[JOAO])
        await talk.travel(seconds=11)
        for turn in await talk.claim():
            await talk.fail(turn, "permanent")
        await talk.travel(days=3)
        await prune(talk)
        assert await count(talk, "messages") == 0
        assert await count(talk, "processed_events") == left


async def test_what_is_too_old_to_be_kept_leads_to_nobody(talk: Conversation):
    await talk.set_rule("retention_days", 2)
    await an_old_conversation(talk, days=3)
    await prune(talk)
    decision = await talk.maria_writes("tem bolo?", wa_id="AC1", ago=4 * 86_400)
    assert (decision["decision"], decision.get("session_id")) == ("too_old", None)


@pytest.mark.own_database
async def test_old_messages_of_a_busy_conversation_are_not_looked_at_more_than_once(
    database_url: str,
):
    """However many there are, and whichever way its turn is unfinished."""
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    await talk.open_shop(retention_days=1)
    await talk.ingest(talk.message("oi"))
    await many_messages(talk, 1, 3000, ago="3 days")
    await talk.sql("update messages set created_at = sent_at")
    await talk.sql("analyze messages")
    for state in ("pending", "running", "sending"):
        await talk.sql(
            "update turns set state = $1, worker = 'x', token_hash = sha256('x'),"
            " lease_until = now() + interval '1 hour'",
            state,
        )
        assert await rows_read(talk, "prune", {}) < 3000 * 1.5
        assert await talk.value("select count(*) from messages") == 3001
    await database.close()
