"""People's data: what an export holds, what an erasure leaves, and that nothing comes back."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from router.errors import Conflict, NotFound
from router.people.hashing import ContactHashes
from router.people.requests import Person, erase_contact, export_contact
from router.state.calls.people import ErasedContact
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, held

KEY = SecretStr("the-first-key-0000000000000000000000")
OLD_KEY = SecretStr("the-key-before-000000000000000000000")
FAILED: Json = {"kind": "transient", "error": "x", "max_attempts": 5, "base_seconds": 2}
HASHES = ContactHashes([KEY])
NUMBER = "5511955550001"
TRACES = (NUMBER, "201955550001001", "maria", "bolo", "entrega", "morango")


async def dump(talk: Conversation) -> str:
    """Every row of every table, as text."""
    tables = await talk.sql(
        "select format('%I.%I', schemaname, tablename) as t from pg_tables"
        " where schemaname in ('public', 'hybridflow')"
    )
    rows = [await talk.sql(f"select t::text as r from {table['t']} as t") for table in tables]
    return "\n".join(row["r"] for table in rows for row in table)


async def assert_no_trace(talk: Conversation) -> None:
    everything = (await dump(talk)).lower()
    assert [trace for trace in TRACES if trace in everything] == []


async def ingest(talk: Conversation, *events: Json, hashes: ContactHashes = HASHES) -> list[str]:
    decisions = await talk.ingest(*[hashes.added_to(event) for event in events])
    return [decision["decision"] for decision in decisions]


def change(kind: str, wa_id: str, jids: Sequence[str] = (MARIA,), **more: Any) -> Json:
    event = {
        "instance": "shop",
        "event": "messages.edited",
        "type": kind,
        "key": f"{kind}:{wa_id}",
        "wa_id": wa_id,
        "jids": list(jids),
        **more,
    }
    if kind == "edit":
        event |= {"key": f"edit:{wa_id}::0123456789abcdef", "from_me": False}
    if kind == "status":
        event["key"] = f"messages.update:{wa_id}:{more['status']}"
    return event


def person(tenant_id: int = 1, contact: str = NUMBER) -> Person:
    return Person.known_as(tenant_id, contact)


async def erase(talk: Conversation, contact: str = NUMBER, tenant_id: int = 1) -> ErasedContact:
    return await erase_contact(talk.database, HASHES, person(tenant_id, contact))


async def erase_long_ago(talk: Conversation, **how: Any) -> ErasedContact:
    """Erase, and let the seconds pass within which a message still counts as written before."""
    erased = await erase(talk, **how)
    await talk.travel(seconds=30)
    return erased


async def a_long_story(talk: Conversation) -> Json:
    """Maria wrote under both identities, was answered, edited, and asked for a human."""
    await talk.set_rule("notify_number", "5511955550009")
    first = talk.message("tem bolo?", jids=(MARIA_LID, MARIA), wa_id="AC01", ago=9)
    await ingest(talk, first)
    await talk.ingest(change("edit", "AC01", text="tem bolo de morango?"))
    await talk.ingest(change("edit", "ACFF", text="a entrega, por favor"))
    await talk.sql(
        "insert into media_jobs"
        " (tenant_id, message_id, state, next_at, error, lease_until, finished_at)"
        " select tenant_id, id, 'failed', now(), 'no sound', now(), now() from messages"
        " where wa_id = 'AC01'"
    )
    await talk.sql(
        "insert into kept_files"
        " (tenant_id, message_id, state, store, name, media_type, bytes, sha256, expires_at,"
        "  next_at, removal_at)"
        " select tenant_id, id, 'kept', 'folder', '1/1/1-0123456789abcdef', 'image/jpeg', 7,"
        "  repeat('0', 64), now() + interval '9 days', now() + interval '9 days', now()"
        " from messages where wa_id = 'AC01'"
    )
    turn = await talk.claim_one()
    await talk.database.call("begin_flow", {**held(turn), "execution_id": "4711"})
    await talk.save(turn, "Temos bolo!")
    begun = await talk.begin(turn, "Temos bolo!")
    await talk.finish(turn, begun, "3EB0AA")
    await ingest(talk, talk.message("Temos bolo!", from_me=True, wa_id="3EB0AA", origin="send"))
    await ingest(talk, talk.message("quero falar com alguém da entrega"))
    turn = await talk.claim_one()
    policy: Json = {}
    await talk.database.call("reserve_budget", {**held(turn), "tokens": 10, "policy": policy})
    noted = {"tenant_id": 1, "session_id": turn["session"]["session_id"], "author": "Ana"}
    await talk.database.call("add_note", {**noted, "body": "mora na Rua das Flores"})
    handed = {**held(turn), "reason": "Maria asks for a human", "summary": "bolo de morango"}
    await talk.database.call("hand_off", handed)
    await talk.sql(
        "insert into relays (tenant_id, session_id, source, outcome, next_at, finished_at)"
        " select tenant_id, id, 'operator', 'failed', now(), now() from sessions"
    )
    return first


async def told_to_staff(talk: Conversation) -> Json:
    """The notice of the handoff, on its way to the staff by WhatsApp."""
    claimed = await talk.database.call(
        "claim_notices", {"limit": 9, "lease_seconds": 60, "max_attempts": 5, "worker": "test"}
    )
    (notice,) = claimed["notices"]
    about = {"notice_id": notice["notice_id"], "token": notice["token"]}
    begun = await talk.database.call(
        "begin_notice_send",
        {
            **about, "instance_name": "shop", "number": "5511955550009@s.whatsapp.net",
            "body": "Maria wants a bolo", "lease_seconds": 45,
        },
    )  # fmt: skip
    return {**about, "message_id": begun["message_id"]}


async def test_an_export_has_everything_under_all_identities(talk: Conversation):
    await a_long_story(talk)
    contact = await export_contact(talk.database, person())
    assert set(contact["identities"]) == {MARIA, MARIA_LID}
    assert [message["body"] for message in contact["messages"]] == [
        "tem bolo de morango?", "Temos bolo!", "quero falar com alguém da entrega",
    ]  # fmt: skip
    assert [turn["execution_id"] for turn in contact["turns"]] == ["4711", None]
    assert contact["turns"][0]["reply"] == ["Temos bolo!"]
    assert [notice["facts"]["contact_name"] for notice in contact["notices"]] == ["Maria"]
    assert [day["turns"] for day in contact["spending"]] == [1]
    assert "a entrega, por favor" in [
        event["change"]["text"] for event in contact["events"] if event["change"]
    ]
    assert [session["contact_name"] for session in contact["sessions"]] == ["Maria"]
    assert "token_hash" not in str(contact)


async def test_an_export_in_pages_has_what_one_at_once_has(talk: Conversation, monkeypatch):
    monkeypatch.setattr("router.people.requests._PAGE", 1)
    await a_long_story(talk)
    await talk.ingest(change("status", "3EB0AA", status="read"))
    await talk.ingest(change("delete", "AC01"))
    await talk.ingest(change("edit", "ACFE", text="ainda a entrega"))
    paged = await export_contact(talk.database, person())
    whole = (await talk.database.call("export_contact", person().named))["contact"]
    for name, rows in whole.items():
        if name == "exported_at":
            continue
        if name == "events":
            paged[name].sort(key=lambda event: event["id"])
        assert paged[name] == rows, name
    assert len(whole["events"]) == await talk.value("select count(*) from processed_events")


async def test_an_export_waits_for_nobody_who_holds_the_session(
    talk: Conversation, database_url: str
):
    await a_long_story(talk)
    holder = await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("select from sessions for update")
            async with asyncio.timeout(60):
                contact = await export_contact(talk.database, person())
    finally:
        await holder.close()
    assert len(contact["messages"]) == 3


async def test_a_long_history_is_erased_in_parts_and_leaves_no_trace(talk: Conversation):
    await a_long_story(talk)
    await talk.sql(
        "insert into messages (tenant_id, session_id, wa_id, from_me, sender, body, sent_at)"
        " select 1, (select min(id) from sessions), 'MANY' || n, false, 'contact', 'bolo ' || n,"
        " now() - interval '1 day' - n * interval '1 second' from generate_series(1, 2200) as n"
    )
    await talk.sql(
        "insert into processed_events (tenant_id, event_key, event)"
        " select 1, 'messages.upsert:0:MANY' || n, 'messages.upsert'"
        " from generate_series(1, 2200) as n"
    )
    parts: list[Json] = []

    class Watched:
        async def call(self, function: str, argument: Mapping[str, object]) -> Json:
            answer = await talk.database.call(function, argument)
            if function == "erase_history":
                parts.append(answer)
            return answer

    erased = await erase_contact(Watched(), HASHES, person())
    assert [part["erased"].get("messages") for part in parts] == [500, 500, 500, None]
    assert [part["more"] for part in parts] == [True, True, True, False]
    assert (erased.erased["messages"], erased.erased["events"] > 2200) == (2203, True)
    await assert_no_trace(talk)
    assert "many" not in (await dump(talk)).lower()
    again = talk.message("bolo 2200", wa_id="MANY2200", ago=1440)
    assert await ingest(talk, again) == ["erased"]


async def test_of_an_erasure_that_was_broken_off_nothing_comes_back_that_was_erased(
    talk: Conversation,
):
    for number in range(5):
        message = talk.message(f"bolo {number}", wa_id=f"AC{number}", ago=60 - number)
        await ingest(talk, message)
    part = await talk.database.call("erase_history", {**person().named, "batch": 2})
    assert part == {"erased": {"messages": 2, "events": 2}, "more": True}
    assert [body for _, body in await talk.sayings()] == ["bolo 2", "bolo 3", "bolo 4"]
    assert not (await talk.database.call("erase_history", {**person().named, "batch": 2}))["more"]
    assert (await erase(talk)).erased["messages"] == 3


async def archive_all(talk: Conversation) -> None:
    """Close what waits, and let the retention pass."""
    await talk.set_rule("retention_days", 30)
    await talk.travel(seconds=11)
    for turn in await talk.claim():
        await talk.fail(turn, "permanent")
    await talk.travel(days=31)
    await talk.database.call("prune", {})


async def test_archived_messages_are_exported_and_erased_where_there_are_any(talk: Conversation):
    await ingest(talk, talk.message("bolo de ontem"))
    await ingest(talk, talk.message("de outra pessoa", jids=(JOAO,)))
    await archive_all(talk)
    contact = await export_contact(talk.database, person())
    assert contact["messages"] == []
    assert [row["body"] for row in contact["archived_messages"]] == ["bolo de ontem"]
    assert (await erase(talk)).erased["messages_archive"] == 1
    left = await talk.sql("select body from messages_archive")
    assert [row["body"] for row in left] == ["de outra pessoa"]


async def test_what_comes_late_about_an_archived_message_is_not_kept(talk: Conversation):
    await ingest(talk, talk.message("bolo de ontem", wa_id="AC01"))
    await archive_all(talk)
    await erase_long_ago(talk)
    assert await ingest(talk, talk.message("oi de novo")) == ["turn_pending"]
    assert await ingest(talk, change("status", "AC01", status="read")) == ["erased"]
    edit = change("edit", "AC01", text="bolo", edited_at=talk.now().isoformat())
    assert await ingest(talk, edit) == ["erased"]


async def test_an_erasure_leaves_no_trace_in_any_table(talk: Conversation):
    await a_long_story(talk)
    await told_to_staff(talk)
    erased = await erase(talk)
    assert erased.execution_ids == ("4711",)
    counts = erased.erased
    assert (counts["sessions"], counts["messages"], counts["turns"]) == (1, 3, 2)
    assert (counts["notices"], counts["spending"], counts["session_identities"]) == (1, 1, 2)
    await assert_no_trace(talk)


async def test_who_is_not_known_cannot_be_erased_or_exported(talk: Conversation):
    for attempt in (erase(talk), export_contact(talk.database, person())):
        with pytest.raises(NotFound):
            await attempt
    # What is under way is not refused: the number may be another one than was meant.
    assert await ingest(talk, talk.message("oi", ago=5)) == ["turn_pending"]


async def test_the_same_contact_of_another_tenant_is_left_alone(talk: Conversation):
    other = await talk.open_shop("pharmacy")
    await ingest(talk, talk.message("tem bolo?"))
    await ingest(talk, talk.message("aspirina?", instance="pharmacy"))
    await erase(talk)
    contact = await export_contact(talk.database, person(other))
    assert [message["body"] for message in contact["messages"]] == ["aspirina?"]
    late = talk.message("de antes", instance="pharmacy", ago=60)
    assert await ingest(talk, late) == ["turn_pending"]


async def test_other_contacts_are_left_alone(talk: Conversation):
    await a_long_story(talk)
    await ingest(talk, talk.message("oi", jids=(JOAO,), wa_id="AC77", author_name="João"))
    await erase(talk)
    assert [body for _, body in await talk.sayings()] == ["oi"]
    assert await ingest(talk, talk.message("oi", jids=(JOAO,), wa_id="AC77")) == ["turn_pending"]


async def test_a_late_retry_of_the_webhook_leaves_no_trace(talk: Conversation):
    first = await a_long_story(talk)
    await erase_long_ago(talk)
    assert await ingest(talk, first) == ["erased"]
    assert await ingest(talk, talk.message("bolo", jids=(MARIA_LID,), ago=600)) == ["erased"]
    own = talk.message("Temos bolo!", from_me=True, wa_id="3EB0AA")
    assert await ingest(talk, own) == ["erased"]
    await assert_no_trace(talk)


async def test_a_retry_that_names_another_identity_or_no_time_is_known_by_its_id(
    talk: Conversation,
):
    event = talk.message("tem bolo?", wa_id="AC01")
    await ingest(talk, event)
    await erase_long_ago(talk)
    again = {**event, "jids": [MARIA_LID], "sent_at": None}
    assert await ingest(talk, again) == ["erased"]
    await assert_no_trace(talk)


async def test_late_edits_deletions_and_receipts_leave_no_trace(talk: Conversation):
    await a_long_story(talk)
    await erase_long_ago(talk)
    late = (
        change("edit", "AC01", text="bolo de morango"),
        change("edit", "AC01", jids=(), text="bolo", edited_at=talk.now().isoformat()),
        change("edit", "AC02", text="bolo", edited_at=talk.now().isoformat()),
        change("delete", "AC01", from_me=False),
        change("status", "3EB0AA", status="read"),
        change("status", "3EB0FF", status="read"),
    )
    for event in late:
        assert await ingest(talk, event) == ["erased"], event
    await assert_no_trace(talk)
    assert await talk.value("select count(*) from processed_events where waiting_for <> ''") == 0


async def test_a_new_message_starts_afresh_and_the_old_ones_stay_away(talk: Conversation):
    first = await a_long_story(talk)
    await erase_long_ago(talk)
    await talk.set_rule("notify_number", None)
    assert await ingest(talk, talk.message("oi de novo", author_name="Ela")) == ["turn_pending"]
    assert not (await talk.session())["is_paused"]
    assert await ingest(talk, first) == ["erased"]
    assert await ingest(talk, talk.message("bolo", jids=(MARIA, MARIA_LID), ago=600)) == ["erased"]
    assert await ingest(talk, change("edit", "AC01", text="bolo")) == ["erased"]
    await talk.answer("Olá!")
    assert [body for _, body in await talk.sayings()] == ["oi de novo", "Olá!"]


async def test_an_edit_that_comes_before_its_new_message_is_applied(talk: Conversation):
    await ingest(talk, talk.message("tem bolo?"))
    await erase_long_ago(talk)
    await ingest(talk, talk.message("oi", wa_id="AC10"))
    early = change("edit", "AC11", text="tem pão?", edited_at=talk.now().isoformat())
    assert await ingest(talk, early) == ["waiting_for_message"]
    await ingest(talk, talk.message("tem pao?", wa_id="AC11"))
    assert [body for _, body in await talk.sayings()] == ["oi", "tem pão?"]


async def test_a_pause_of_somebody_erased_does_not_open_the_door_to_the_past(talk: Conversation):
    await ingest(talk, talk.message("tem bolo?"))
    await erase_long_ago(talk)
    who = {"tenant_id": 1, "jids": [MARIA], "source": "operator", "policy": {}}
    await talk.database.call("pause_contact", who)
    assert await ingest(talk, talk.message("bolo", ago=600)) == ["erased"]
    assert await ingest(talk, talk.message("oi")) == ["paused"]


async def test_a_human_who_writes_just_after_an_erasure_is_not_talked_over(talk: Conversation):
    """Nothing of theirs is kept, for it may be older; that they are there is."""
    await ingest(talk, talk.message("tem bolo?", jids=(MARIA, MARIA_LID)))
    await erase(talk)
    await talk.travel(seconds=3)
    own = talk.message("bolo? sou eu, a Ana", from_me=True, jids=(MARIA,), ago=0)
    assert await ingest(talk, own) == ["erased"]
    await assert_no_trace(talk)
    assert await talk.value("select count(*) from sessions") == 0
    await talk.travel(seconds=10)
    assert await ingest(talk, talk.message("oi", jids=(MARIA_LID,))) == ["paused"]
    session = await talk.session(MARIA_LID)
    assert (session["pause_source"], session["pause_reason"]) == ("owner", "the owner wrote")
    await talk.travel(hours=3)
    assert await ingest(talk, talk.message("alguém?", jids=(MARIA_LID,))) == ["turn_pending"]
    assert not (await talk.session(MARIA_LID))["is_paused"]  # it was taken over once


async def test_what_a_human_wrote_then_and_comes_late_stops_the_answer_to_what_came_after(
    talk: Conversation,
):
    await ingest(talk, talk.message("tem bolo?"))
    await erase(talk)
    await talk.travel(seconds=3)
    own = talk.message("sou eu, a Ana", from_me=True, ago=0)
    await talk.travel(seconds=10)
    assert await ingest(talk, talk.message("oi")) == ["turn_pending"]
    turn = await talk.claim_one()
    assert await ingest(talk, own) == ["erased"]
    await talk.save(turn, "Olá!")
    assert (await talk.session())["is_paused"]
    assert "ok" not in await talk.begin(turn, "Olá!")
    assert [body for _, body in await talk.sayings()] == ["oi"]


@pytest.mark.parametrize("first", ["contact", "greeting"])
async def test_a_greeting_to_what_is_not_kept_takes_nothing_over(talk: Conversation, first: str):
    """Nor does what our side wrote long before the erasure, and an echo of our own reply."""
    await talk.set_rule("auto_reply_seconds", 5)
    await ingest(talk, talk.message("tem bolo?", wa_id="AC01"))
    await erase(talk)
    await talk.travel(seconds=3)
    asked, greeting = talk.message("bolo", ago=1), talk.message("Bem-vinda!", from_me=True, ago=0)
    for event in (asked, greeting) if first == "contact" else (greeting, asked):
        assert await ingest(talk, event) == ["erased"]
    assert await ingest(talk, talk.message("Temos!", from_me=True, ago=600)) == ["erased"]
    assert await ingest(talk, talk.message("x", from_me=True, ago=0, wa_id="AC01")) == ["erased"]
    await talk.travel(seconds=10)
    assert await ingest(talk, talk.message("oi")) == ["turn_pending"]


async def test_identities_that_turn_out_to_be_one_person_keep_the_erasure(talk: Conversation):
    await ingest(talk, talk.message("tem bolo?"))
    await erase_long_ago(talk)
    assert await ingest(talk, talk.message("oi", jids=(MARIA_LID,))) == ["turn_pending"]
    await ingest(talk, talk.message("sou eu", jids=(MARIA_LID, MARIA)))
    assert await ingest(talk, talk.message("bolo", ago=600)) == ["erased"]


async def test_what_was_erased_under_an_old_key_is_known_while_that_key_is_listed(
    talk: Conversation,
):
    await ingest(talk, talk.message("tem bolo?"))
    old = ContactHashes([OLD_KEY])
    await erase_contact(talk.database, old, person())
    await talk.travel(seconds=30)
    late = talk.message("bolo", ago=600)
    assert await ingest(talk, late, hashes=ContactHashes([KEY, OLD_KEY])) == ["erased"]
    assert await ingest(talk, late, hashes=ContactHashes([KEY], former=[OLD_KEY])) == ["erased"]
    assert await ingest(talk, late) == ["turn_pending"]


async def test_a_contact_with_an_identity_nobody_hashed_is_not_erased_by_halves(
    talk: Conversation,
):
    await ingest(talk, talk.message("tem bolo?", jids=(MARIA, MARIA_LID)))
    half = {"tenant_id": 1, "jids": [MARIA], "hashes": HASHES.by_jid([MARIA])}
    with pytest.raises(Conflict):
        await talk.database.call("erase_contact", half)
    assert len(await talk.sayings()) == 1


async def test_a_turn_that_was_under_way_is_refused_in_every_way(talk: Conversation):
    await ingest(talk, talk.message("tem bolo?"))
    turn = await talk.claim_one()
    await talk.database.call("begin_flow", {**held(turn), "execution_id": "4711"})
    await talk.save(turn, "Temos bolo!")
    begun = await talk.begin(turn, "Temos bolo!")
    await erase(talk)
    message = {**held(turn), "tenant_id": 1, "message_id": begun["message_id"]}
    asked: tuple[tuple[str, Json], ...] = (
        ("save_reply", {**held(turn), "parts": ["x"], "handler": "fallback"}),
        ("begin_send", {**held(turn), "part": 1, "body": "x", "lease_seconds": 45}),
        ("begin_flow_send", {**held(turn), "kind": "text", "body": "x", "lease_seconds": 45}),
        ("doubt_send", {**message, "error": "x", "check_after": 3}),
        ("settle_send", {**message, "outcome": "not_sent", "check_after": 3, "give_up_hours": 24}),
        ("fail_turn", {**message, **FAILED}),
        ("release_turn", held(turn)),
        ("finish_turn", held(turn)),
        ("forward_turn", {**held(turn), "lease_seconds": 60}),
        ("begin_flow", {**held(turn), "execution_id": "4712"}),
        ("extend_turn", {**held(turn), "seconds": 60}),
        ("hand_off", {**held(turn), "reason": "x"}),
        ("refuse_reply", {**held(turn), "rule": "x"}),
        ("reserve_budget", {**held(turn), "tokens": 1, "policy": {}}),
    )
    for function, argument in asked:
        answer = await talk.database.call(function, argument)
        assert answer.get("refused") == "stale", function
    assert await talk.database.call("fail_send", message) == {"ok": True}
    assert await talk.database.call("look_at_turn", held(turn)) == {"refused": "stale"}
    with pytest.raises(NotFound):
        await talk.database.call("fail_execution", {"execution_id": "4711", **FAILED})
    assert await talk.claim() == []
    await assert_no_trace(talk)


async def test_a_reply_that_was_just_leaving_and_its_echo_leave_no_trace(talk: Conversation):
    await ingest(talk, talk.message("tem bolo?"))
    turn = await talk.claim_one()
    await talk.save(turn, "Temos bolo!")
    begun = await talk.begin(turn, "Temos bolo!")
    await erase(talk)
    first = talk.message("Temos bolo!", from_me=True, wa_id="3EB0BB", ago=0)
    assert await ingest(talk, first) == ["erased"]
    sent = {"wa_id": "3EB0AA", "jid": MARIA, "status": "pending", "tenant_id": 1}
    argument = {**held(turn), "message_id": begun["message_id"], **sent}
    assert await talk.database.call("finish_send", argument) == {"turn_state": None}
    await talk.travel(seconds=60)  # Evolution took its time
    for origin in ("send", "upsert"):
        echo = talk.message("Temos bolo!", from_me=True, wa_id="3EB0AA", origin=origin)
        assert await ingest(talk, echo) == ["erased"]
    await assert_no_trace(talk)
    assert await ingest(talk, talk.message("oi")) == ["turn_pending"]  # nobody has taken it over


async def test_the_staff_was_being_told_of_an_erased_contact(talk: Conversation):
    await a_long_story(talk)
    notice = await told_to_staff(talk)
    await erase(talk)
    staff = "5511955550009@s.whatsapp.net"
    finished = {"tenant_id": 1, **notice, "wa_id": "3EB0EE", "jid": staff, "status": "pending"}
    assert await talk.database.call("finish_send", finished) == {"turn_state": None}
    echo = talk.message("Maria wants a bolo", jids=(staff,), from_me=True, wa_id="3EB0EE")
    assert await ingest(talk, echo) == ["own_message"]
    again = await talk.database.call(
        "begin_notice_send",
        {**notice, "instance_name": "shop", "number": staff, "body": "x", "lease_seconds": 45},
    )
    assert again == {"refused": "unknown_notice"}
    await assert_no_trace(talk)


@pytest.mark.parametrize(
    ("turn_knows_it", "who"),
    [(True, "Somebody"), (False, f"Maria ({NUMBER})"), (False, "Maria")],  # who has a LID alone
)
async def test_a_notice_of_a_failure_names_whom_it_concerns_and_forgets_who_is_erased(
    talk: Conversation, turn_knows_it: bool, who: str
):
    await talk.set_rule("notify_number", "5511955550009")
    await talk.ingest(talk.message("oi", jids=(MARIA,)))
    (turn,) = await _claimed(talk)
    await talk.fail(turn, "permanent", cause="send_failed")
    claimed = await talk.database.call(
        "claim_notices",
        {"limit": 9, "lease_seconds": 60, "max_attempts": 5, "kinds": ["unanswered"]},
    )
    (notice,) = claimed["notices"]
    (outage,) = notice["facts"]["outages"]
    assert (outage["who"], outage["others"]) == ([{"name": "Maria", "jid": MARIA}], False)
    told = {
        "notice_id": notice["notice_id"], "token": notice["token"], "instance_name": "shop",
        "number": "5511955550009@s.whatsapp.net",
        "body": f"{who} got no answer", "lease_seconds": 45,
    }  # fmt: skip
    begun = await talk.database.call("begin_notice_send", told)
    if not turn_knows_it:  # it met another outage later
        await talk.value("update turns set outage_id = null returning id")
    await erase(talk)
    body = "select body from messages where id = $1"
    assert await talk.value(body, begun["message_id"]) == ""
    await assert_no_trace(talk)


async def test_who_is_about_to_tell_of_a_failure_is_given_it_anew_without_who_was_erased(
    talk: Conversation,
):
    await talk.set_rule("notify_number", "5511955550009")
    for jid in (MARIA, "5511955550007@s.whatsapp.net"):
        await talk.ingest(talk.message("oi", jids=(jid,)))
    for turn in await _claimed(talk):
        await talk.fail(turn, "permanent", cause="send_failed")
    asked = {"limit": 9, "lease_seconds": 60, "max_attempts": 1, "kinds": ["unanswered"]}
    (before,) = (await talk.database.call("claim_notices", asked))["notices"]
    await erase(talk)
    told = {
        "notice_id": before["notice_id"], "token": before["token"], "body": "Maria got no answer",
        "lease_seconds": 45,
    }  # fmt: skip
    assert await talk.database.call("begin_notice_send", told) == {"refused": "stale"}
    (after,) = (await talk.database.call("claim_notices", asked))["notices"]
    assert after["notice_id"] == before["notice_id"]
    for notice, count in ((before, 2), (after, 1)):
        (outage,) = notice["facts"]["outages"]
        assert len(outage["who"]) == count
    told |= {"token": after["token"], "body": "somebody got no answer"}
    told |= {"instance_name": "shop", "number": "5511955550009@s.whatsapp.net"}
    assert (await talk.database.call("begin_notice_send", told))["ok"]


async def test_a_merged_contacts_notices_are_erased_too(talk: Conversation):
    await talk.ingest(talk.message("oi", jids=(MARIA,)))
    await talk.ingest(talk.message("bolo", jids=(MARIA_LID,)))
    turns = await _claimed(talk)
    for turn in turns:
        await talk.database.call("hand_off", {**held(turn), "reason": "bolo", "summary": "x"})
    await talk.ingest(talk.message("sou eu", jids=(MARIA, MARIA_LID)))
    assert (await erase(talk)).erased["notices"] == 2
    await assert_no_trace(talk)


async def _claimed(talk: Conversation) -> list[Json]:
    await talk.travel(seconds=11)
    return await talk.claim()


async def test_erasing_and_ingesting_at_the_same_time_leave_no_half_person(
    talk: Conversation, database_url: str
):
    router = await DirectDatabase.connect(database_url, size=4)
    try:
        for place in range(12):
            await talk.travel(hours=1)  # after the erasure before
            first = talk.message("tem bolo?", jids=(MARIA,))
            linked = talk.message("e entrega?", jids=(MARIA_LID, MARIA))
            assert await ingest(talk, first) == ["turn_pending"]
            late = [HASHES.added_to(e) for e in (linked, change("edit", first["wa_id"], text="x"))]
            argument: Json = {"policy": {}}
            jobs: list[Awaitable[object]] = [
                router.call("ingest_events", {**argument, "events": [event]}) for event in late
            ]
            jobs.insert(place % 3, erase_contact(router, HASHES, person()))
            await asyncio.gather(*jobs)
            # Whether it came before or after: nobody is left.
            await assert_no_trace(talk)
    finally:
        await router.close()


def test_the_hashes_are_keyed_and_made_with_every_entry():
    jid = MARIA
    one, both = HASHES.by_jid([jid])[jid], ContactHashes([KEY, OLD_KEY]).by_jid([jid])[jid]
    assert both[:1] == one
    assert len(set(both)) == 2
    assert all(len(value) == 64 for value in both)
    assert "hashes" not in HASHES.added_to({"type": "connection", "key": str(uuid4())})


async def test_changes_that_others_have_superseded_are_erased_with_the_rest(talk: Conversation):
    await talk.maria_writes("oi")
    edits = [
        change("edit", "ACUNSEEN", text=f"bolo {n}") | {"key": f"edit:ACUNSEEN:{n}"}
        for n in range(3)
    ]
    deletions = [change("delete", "ACUNSEEN") | {"key": f"delete{n}:ACUNSEEN"} for n in range(2)]
    await ingest(talk, *edits, *deletions)
    assert await talk.value("select count(*) from processed_events where change is not null") == 5
    await erase(talk)
    assert (
        await talk.sql("select event_key from processed_events where event_key ~ 'ACUNSEEN'") == []
    )
