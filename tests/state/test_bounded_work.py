"""What one contact has written, one event or one row never makes a call read without bound."""

from collections.abc import AsyncIterator

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, answered
from tests.state.transports import over_postgresql
from tests.state.work import many_messages, many_turns, rows_read

pytestmark = pytest.mark.own_database

ENOUGH = 20_000
"""Rows that one call may look at; a session's newest 2,000 messages are looked at a few times."""


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    """A tenant `shop` to which Maria has written once; another, whose customer is João."""
    async with over_postgresql(database_url) as database:
        conversation = Conversation(database)
        await conversation.open_shop()
        await conversation.open_shop("other")
        await conversation.maria_writes("oi")
        yield conversation


def of(*events: Json) -> Json:
    return {"events": list(events), "policy": POLICY}


# The end of a pause


async def pause_with(
    talk: Conversation, *, messages: int, turns: int, seen: bool, hours: int = 3
) -> Json:
    """Maria's session is paused, for so many hours; meanwhile she wrote, and turns ended."""
    session = await talk.session()
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await many_turns(talk, session["id"], turns, seen=seen)
    await many_messages(talk, session["id"], messages)
    await talk.sql("analyze")
    await talk.sql(
        "update sessions set is_paused = true, pause_source = 'ai', paused_at = paused,"
        " last_human_at = paused"
        " from (select hybridflow.clock() - $1 * interval '1 hour' as paused) as t",
        hours,
    )
    return session


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("way", ["the next message", "cron", "an operator", "a merge"])
async def test_the_end_of_a_pause_does_not_read_every_turn_for_every_message(
    talk: Conversation, way: str, seen: bool
):
    if way == "a merge":
        await talk.maria_writes("sou eu", jids=[MARIA_LID])
    session = await pause_with(talk, messages=500, turns=500, seen=seen)
    who = {"tenant_id": session["tenant_id"], "session_id": session["id"], "policy": POLICY}
    beside = talk.message("oi", jids=[JOAO], instance="other")
    function, argument = {
        "the next message": ("ingest_events", of(talk.message("e aí?"), beside)),
        "cron": ("auto_resume", {"policy": POLICY}),
        "an operator": ("resume_session", who | {"source": "operator", "policy": POLICY}),
        "a merge": ("ingest_events", of(talk.message("e?", jids=[MARIA, MARIA_LID]), beside)),
    }[way]
    assert await rows_read(talk, function, argument) < ENOUGH
    if way != "a merge":
        assert not (await talk.session())["is_paused"]


async def test_however_much_was_written_in_the_pause_no_more_is_read(talk: Conversation):
    rows = []
    for number in range(2):
        session = await pause_with(talk, messages=2_500 * (1 + number), turns=10, seen=True)
        who = {"tenant_id": session["tenant_id"], "session_id": session["id"]}
        rows.append(
            await rows_read(talk, "resume_session", {**who, "source": "operator", "policy": POLICY})
        )
        await talk.sql("truncate messages cascade")
    assert rows[1] < rows[0] * 1.2


async def test_the_newest_are_answered_and_the_older_count_as_seen_with_them(talk: Conversation):
    session = await pause_with(talk, messages=2_300, turns=0, seen=False)
    who = {"tenant_id": session["tenant_id"], "session_id": session["id"]}
    resume = {**who, "source": "operator", "policy": POLICY}
    await talk.database.call("resume_session", resume)
    turn = await talk.answer()
    assert "hello 2300" in answered(turn)
    await talk.database.call("pause_session", {**who, "source": "operator"})
    assert (await talk.database.call("resume_session", resume))["turn_id"] is None


async def test_what_a_later_turn_answered_before_a_merge_is_not_answered_again(talk: Conversation):
    await talk.maria_writes("sou eu", jids=[MARIA_LID])
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.maria_writes("tem bolo?")
    await talk.answer()  # its history has "oi", which nobody answered
    await talk.maria_writes("e café?", jids=[MARIA, MARIA_LID])
    await talk.sql("update turns set state = 'cancelled', reason = 'x' where state = 'pending'")
    session = await talk.session()
    who = {"tenant_id": session["tenant_id"], "session_id": session["id"]}
    await talk.database.call("pause_session", {**who, "source": "operator"})
    await talk.database.call("resume_session", {**who, "source": "operator", "policy": POLICY})
    # What the other session had is new to every turn that was made before the merge.
    assert answered(await talk.claim_one()) == ["sou eu", "e café?"]


# Claims


async def test_a_claim_does_not_read_every_turn_that_it_cannot_take(talk: Conversation):
    """Many customers have written again while their replies are being made, or in doubt."""
    # Maria's own turn would be due by then on a busy machine, and be claimed.
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.sql(
        "with s as (insert into sessions (tenant_id) select 1 from generate_series(1, 3000)"
        " returning id, tenant_id),"
        " a as (insert into turns (tenant_id, session_id, state, lease_until, run_after,"
        "  debounce_until, token_hash)"
        "  select tenant_id, id, 'sending', now() + interval '5 minutes', now(), now(),"
        "  sha256('x') from s)"
        " insert into turns (tenant_id, session_id, run_after, debounce_until)"
        " select tenant_id, id, now() - interval '2 seconds', now() from s"
    )
    await talk.sql("analyze")
    claim = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5, "worker": "w"}
    assert await rows_read(talk, "claim_turns", claim) < 1_000


@pytest.mark.parametrize("statistics", ["none", "fresh"])
@pytest.mark.parametrize("lapsed", [False, True])
async def test_nor_every_turn_that_a_session_has_had(
    talk: Conversation, statistics: str, lapsed: bool
):
    session = await talk.session()
    await many_turns(talk, session["id"], 5_000, seen=True)
    if statistics == "fresh":
        await talk.sql("analyze")
    await talk.travel(seconds=11)
    if lapsed:
        await talk.claim()
        await talk.travel(seconds=61)
    claim = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5, "worker": "w"}
    assert await rows_read(talk, "claim_turns", claim) < 1_000


# One event


async def test_a_merge_moves_the_smaller_conversation_however_often_it_is_made(talk: Conversation):
    lids = [f"2019555500{number:05}@lid" for number in range(3)]
    await talk.sql("truncate sessions cascade")
    for lid in lids:
        await talk.maria_writes("oi", jids=[lid])
    await talk.maria_writes("oi")
    large = await talk.session()
    await many_messages(talk, large["id"], 3_000)
    await many_turns(talk, large["id"], 500, seen=True)
    await talk.sql("analyze")
    for lid in reversed(lids):
        event = talk.message("sou eu", jids=[MARIA, lid])
        assert await rows_read(talk, "ingest_events", of(event)) < 7_000
        assert (await talk.session())["id"] == (await talk.session(lid))["id"] == large["id"]
    said = "select count(*) from messages where session_id = $1"
    assert await talk.value(said, large["id"]) == 3_000 + 1 + 3 + 3
    assert (await talk.session())["created_at"] < large["created_at"]


def edit(text: str, second: int, *, wa_id: str = "ACX", kind: str = "edit", **more: object) -> Json:
    return {
        "instance": "shop", "event": "messages.edited", "type": kind,
        "key": f"{kind}:{wa_id}:{second}:0", "wa_id": wa_id, "from_me": False, "jids": [MARIA],
        "text": text, "edited_at": f"2026-01-01T00:00:{second:02}Z", **more,
    }  # fmt: skip


async def waiting(talk: Conversation) -> list[str]:
    rows = await talk.sql(
        "select change ->> 'type' as kind from processed_events where waiting_for is not null"
    )
    return sorted(row["kind"] for row in rows)


@pytest.mark.parametrize("order", [(1, 2, 9, 4), (9, 1, 2, 4), (1, 2, 4, 9)])
async def test_of_the_edits_that_wait_for_a_message_the_newest_counts(
    talk: Conversation, order: tuple[int, ...]
):
    await talk.ingest(*(edit(f"edited at {second}", second) for second in order))
    await talk.ingest(edit("", 1, kind="delete"), edit("", 2, kind="delete"))
    assert await waiting(talk) == ["delete", "edit"]
    assert await talk.value("select count(*) from processed_events where change ? 'type'") == 2
    await talk.maria_writes("oi", wa_id="ACX")
    (message,) = await talk.sql("select * from messages where wa_id = 'ACX'")
    assert message["body"] == "edited at 9"
    assert message["deleted_at"] is not None
    assert await waiting(talk) == []


@pytest.mark.parametrize("order", [("delivery_ack", "read", "server_ack"), ("read", "error")])
async def test_and_of_the_delivery_states_the_strongest(talk: Conversation, order: tuple[str, ...]):
    states = [
        edit("", second, kind="status", status=status.upper())
        for second, status in enumerate(order)
    ]
    await talk.ingest(*states)
    assert await waiting(talk) == ["status"]
    await talk.maria_writes("oi", wa_id="ACX", status="PENDING")
    assert await talk.value("select status from messages where wa_id = 'ACX'") == "read"


async def many_sends(talk: Conversation, session_id: int, count: int) -> None:
    """So many sends that were judged not to have left, and may still be late."""
    await talk.sql(
        "insert into messages (tenant_id, session_id, from_me, sender, body, sent_at, send_state,"
        " send_began_at, late_until, told_as)"
        " select tenant_id, id, true, 'ai', 'reply ' || g, now(), 'failed', now(),"
        " now() + interval '1 hour', array['x'] from sessions, generate_series(1, $2::integer) as g"
        " where id = $1",
        session_id,
        count,
    )


async def test_an_own_message_without_a_telling_is_found_by_the_hash_of_its_words(
    talk: Conversation,
):
    session = await talk.session()
    await many_sends(talk, session["id"], 2_000)
    await talk.sql("analyze")
    event = talk.message("other words", from_me=True, origin="send") | {"telling": None}
    assert await rows_read(talk, "ingest_events", of(event)) < 500
    event = talk.message("reply\n 1234 ", from_me=True, origin="send") | {"telling": None}
    assert await rows_read(talk, "ingest_events", of(event)) < 500
    assert await talk.value("select send_state from messages where body = 'reply 1234'") == "sent"


async def test_a_message_does_not_read_every_turn_that_its_session_has_had(talk: Conversation):
    for setting in ("queue", "restart"):
        await talk.set_rule("on_new_message", setting)
        session = await talk.session()
        await many_turns(talk, session["id"], 2_000, seen=True)
        await talk.sql("analyze")
        assert await rows_read(talk, "ingest_events", of(talk.message("oi"))) < 300
        owner = talk.message("deixa comigo", from_me=True)
        assert await rows_read(talk, "ingest_events", of(owner)) < 300
        await talk.sql("update sessions set is_paused = false")


async def test_nor_every_reply_that_was_not_delivered(talk: Conversation):
    session = await talk.session()
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.sql(
        "insert into turns (tenant_id, session_id, state, undelivered, run_after, debounce_until,"
        " finished_at) select 1, $1, 'sent', 1, now(), now(), now() from generate_series(1, 2000)",
        session["id"],
    )
    await talk.sql("analyze")
    assert await rows_read(talk, "ingest_events", of(talk.message("oi"))) < 300


async def test_a_reply_that_failed_does_not_read_what_came_after_for_each_of_its_messages(
    talk: Conversation,
):
    await talk.answer(wa_id="3EB0AAAA")
    session = await talk.session()
    await many_messages(talk, session["id"], 600)
    await talk.sql("update messages set turn_id = 1 where not from_me")
    await many_messages(talk, session["id"], 600, first=1000, ago="1 second")
    await talk.sql("analyze")
    event = edit("", 1, kind="status", status="ERROR", wa_id="3EB0AAAA")
    assert await rows_read(talk, "ingest_events", of(event)) < 10_000
    assert await talk.value("select undelivered from turns where id = 1") == 1


async def test_a_false_takeover_is_taken_back_without_reading_the_conversation(talk: Conversation):
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    await talk.owner_writes("o dono?", wa_id="3EB0BBBB")
    session = await talk.session()
    assert session["is_paused"]
    await many_messages(talk, session["id"], 5_000, ago="3 hours")
    await talk.sql("analyze")
    finish = {"tenant_id": 1, "message_id": begun["message_id"], "wa_id": "3EB0BBBB"}
    assert await rows_read(talk, "finish_send", {**finish, "policy": POLICY}) < 500
    assert not (await talk.session())["is_paused"]


async def test_another_spelling_of_a_number_is_learnt_without_locking_all_that_are_known(
    talk: Conversation,
):
    number = "5531988880001@s.whatsapp.net"
    await talk.maria_writes("oi", jids=[number])
    session = await talk.session(number)
    await talk.sql("update turns set state = 'cancelled' where session_id <> $1", session["id"])
    await talk.sql(
        "insert into session_identities (tenant_id, jid, session_id)"
        " select 1, '20' || (10000000000 + g) || '@lid', $1 from generate_series(1, 300) as g",
        session["id"],
    )
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    finish = {"tenant_id": 1, "message_id": begun["message_id"], "wa_id": "3EB0AAA"}
    async with talk.database._pool.acquire() as connection, connection.transaction():
        await connection.fetchval(
            "select finish_send($1)", {**finish, "jid": "553188880001@s.whatsapp.net"}
        )
        locks = await connection.fetchval(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        )
    assert locks < 10
    assert (await talk.session("553188880001@s.whatsapp.net"))["id"] == session["id"]


async def test_a_call_ends_in_time_and_what_it_has_decided_stands(talk: Conversation):
    events = [
        talk.message(f"oi {number}", jids=[f"55119777700{number:02}@s.whatsapp.net"])
        for number in range(3)
    ]
    left, calls = events, 0
    while left:
        argument = {**of(*left), "patience_ms": 50, "at_most_ms": 0}
        answer = await talk.database.call("ingest_events", argument)
        outcomes = [decision["outcome"] for decision in answer["decisions"]]
        assert outcomes == ["recorded", *["busy"] * (len(left) - 1)]
        left, calls = left[1:], calls + 1
    assert calls == 3
    assert await talk.value("select count(*) from messages where body like 'oi %'") == 3
