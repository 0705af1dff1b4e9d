"""What one contact has written, one event or one row never makes a call read without bound."""

from collections.abc import AsyncIterator

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, answered
from tests.state.transports import over_postgresql
from tests.state.work import many_messages, many_turns, rows_read

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
        "an operator": ("resume_session", who | {"source": "operator"}),
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
    assert await rows_read(talk, "claim_turns", claim) < 10_000


async def test_nor_every_turn_that_a_session_has_had(talk: Conversation):
    session = await talk.session()
    await many_turns(talk, session["id"], 5_000, seen=True)
    await talk.sql("analyze")
    await talk.travel(seconds=11)
    claim = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5, "worker": "w"}
    assert await rows_read(talk, "claim_turns", claim) < 1_000
