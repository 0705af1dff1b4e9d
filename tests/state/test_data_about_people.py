"""No data about a person is forgotten: the catalogue's tables and columns, each with its places.

A new table or column fails here until it is said what becomes of it: in an export, an erasure, at
the end of its retention, and in what members may read.
"""

from collections.abc import Iterable

import pytest

from router.configuration.tenant_settings import SETTINGS
from router.people.requests import export_contact
from tests.state.conversation import Conversation, Json
from tests.state.test_people import a_long_story, erase, person

ABOUT_CONTACTS = (
    *("sessions", "session_identities", "messages", "messages_archive", "turns", "turn_attempts"),
    *("notices", "spending", "processed_events", "session_notes", "handoffs", "media_jobs"),
    "relays",
    "kept_files",
)
"""What a contact's export, erasure and retention are about."""

OF_THE_BUSINESS = {
    "tenants": " ".join(each.name for each in SETTINGS)
    + " id connection_state connection_reason connection_changed_at connection_lost_at owner_jid"
    " qr_code pairing_code qr_updated_at created_at updated_at caught_up_at pruned_before"
    " guard_changed_at is_demo",
    "webhook_secrets": "id tenant_id secret_hash ends_with created_by created_at retires_at",
    "api_keys": "id name key_hash starts_with role every_tenant created_by created_at expires_at"
    " revoked_at last_used_at made_by made_with",
    "api_key_tenants": "api_key_id tenant_id",
    "memberships": "tenant_id user_id role created_by created_at",
    # Who did what, by ids; a contact's only as its keyed hash. Lines are only ever added.
    "audit_log": "id at tenant_id caller_kind caller action session_id turn_id detail api_key_id",
    # What an erasure leaves, without a word of the contact.
    "erased_contacts": "tenant_id contact_hash erased_at was_sending contact_wrote_at"
    " human_wrote_at",
    "erased_messages": "tenant_id wa_id_hash erased_at",
    # What a flow would have said to a made-up contact, until it was told.
    "dry_turns": "id tenant_id token_hash began_at ends_at said ended",
    # What the business itself shows to everybody.
    "tenant_files": "id tenant_id name description kind file_name bytes content created_by"
    " created_at",
    "executions_to_erase": "execution_id tenant_id asked_at next_at error",
    # What changed in the last ten minutes, by ids that lead to nobody once they are erased.
    # That customers got no answer, for what cause and how long: of no contact.
    "outages": "id tenant_id cause about began_at last_at ended_at notice_id error",
    "changes": "txid at tenant_id session_id turn_id kind sign_in router",
}
"""What is in no contact's export: it is about the business, its people, or who was erased."""

NOT_EXPORTED = {
    # How the router keeps its promises: times and ids that say nothing of the person.
    "sessions": "pause_message_id pause_asked_at pause_written_at merged_at erased_before"
    " erasure_checked awaited_pictures awaited_until away_until away_message_id"
    " fallback_told_at fallback_message_id",
    "turns": "token_hash beside seen_at waiting held due_when_heard outage_id",
    "messages": "send_began_at identity told_as chosen_id late_until check_at upload_seconds",
    "notices": "token_hash waiting",
    # What the LLM is shown of what they sent: small copies, gone in a day.
    "media_jobs": "token_hash waiting pictures content",
    # Where the file is, and what is still to be done with it; the file is given out by itself.
    "kept_files": "content store name own_file_id next_at removal_at due_at has_owner attempt",
    # What is to be sent is in the message; the rest says how it is sent once.
    "relays": "token_hash waiting request_hash lease_until said idempotency_key",
    "spending": "id",
    # An export lists the JIDs themselves, as `identities`.
    "session_identities": "tenant_id jid session_id created_at",
}
KEPT_UNTIL_ERASED = {
    "sessions": "who wrote stays known, and with it what erasure is asked by",
    "session_identities": "the same",
    "session_notes": "people keep them, and take them away",
}
HIDDEN_FROM_MEMBERS = {
    "turns": "token_hash execution_id execution_url debounce_until lease_until worker"
    " correlation_id reserved_tokens reserved_on beside stop_reason waits seen_at"
    " execution_told_at retried_at waits_for waiting held said_so_far handler_since due_when_heard"
    " outage_id",
    "turn_attempts": "worker execution_id execution_url",
    "notices": "token_hash next_at lease_until waiting",
    "media_jobs": "id tenant_id message_id state next_at attempt token_hash lease_until error"
    " waits waits_for keep_only"
    " tokens created_at finished_at updated_at waiting pictures pictures_until"
    " content",
    "kept_files": "id tenant_id message_id state store name media_type bytes sha256 content"
    " expires_at next_at removal_at attempt error created_at updated_at due_at own_file_id"
    " has_owner",
    "relays": "caller idempotency_key request_hash said facts next_at attempt token_hash waiting"
    " lease_until",
    "processed_events": "id tenant_id event_key event decision waiting_for change processed_at",
}


def words(text: str) -> set[str]:
    return set(text.split())


async def columns(talk: Conversation) -> dict[str, list[str]]:
    rows = await talk.sql(
        "select c.relname::text as of_table, array_agg(a.attname::text order by a.attnum) as names"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and a.attnum > 0 and not a.attisdropped group by c.relname"
    )
    return {row["of_table"]: list(row["names"]) for row in rows}


async def counts(talk: Conversation, tables: Iterable[str]) -> dict[str, int]:
    return {name: await talk.value(f"select count(*) from {name}") for name in tables}


async def fill_columns(talk: Conversation, table: str, row_id: int) -> None:
    """Give every column that is null a value of its type, so that each can be told by it."""
    nulls = await talk.sql(
        "select a.attname::text as name, format_type("
        "   case when t.typtype = 'd' then t.typbasetype else a.atttypid end, null) as kind"
        " from pg_attribute as a join pg_type as t on t.oid = a.atttypid"
        f" where a.attrelid = '{table}'::regclass and a.attnum > 0 and not a.attisdropped"
        f" and a.attgenerated = '' and to_jsonb((select m from {table} as m where id = {row_id}))"
        " -> a.attname::text = 'null'"
    )
    values = {
        "text": "'of {}'",
        "text[]": "array['of {}']",
        "jsonb": '\'{{"of": "{}"}}\'',
        "timestamp with time zone": "now() - interval '100 days'",
        "integer": "7",
        "bigint": "7",
        "numeric": "7",
        "bigint[]": "array[7]",
        "bytea": "'\\x01'",
    }
    for row in nulls:
        value = values[row["kind"]].format(row["name"])  # a KeyError: say here what it may hold
        await talk.sql(f"update {table} set {row['name']} = {value} where id = {row_id}")


async def archive_one(talk: Conversation) -> tuple[Json, Json]:
    """Have prune archive a message with a value in every column; return it before and after."""
    row_id = await talk.value("select id from messages where part is not null")
    await fill_columns(talk, "messages", row_id)
    await talk.sql("update messages set created_at = now() - interval '100 days'")
    await talk.sql(f"update messages set sent_at = created_at where id = {row_id}")
    before = await talk.sql(f"select m.* from messages as m where id = {row_id}")
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.database.call("prune", {"retention_days": 30})
    after = await talk.sql(f"select a.* from messages_archive as a where id = {row_id}")
    return dict(before[0]), dict(after[0])


async def forget_files(talk: Conversation) -> None:
    """Do what routers do with the files of messages that are gone: the row goes after the file."""
    await talk.travel(minutes=11)  # nobody can still be writing one
    asked = {"stores": ["folder", "bucket"], "limit": 20, "retry_seconds": 600}
    for file in (await talk.database.call("claim_kept_files", asked))["files"]:
        assert file["wanted"] == "remove"
        done = {"file_id": file["file_id"], "done": "removed"}
        await talk.database.call("settle_kept_file", done)


async def test_of_every_table_and_column_it_is_said_whom_it_is_about(talk: Conversation):
    found = await columns(talk)
    assert set(found) == {*ABOUT_CONTACTS, *OF_THE_BUSINESS}, (
        "say of a new table, here, whether it is about contacts"
    )
    for table, known in OF_THE_BUSINESS.items():
        assert set(found[table]) == words(known), (
            f"{table} is in no contact's export: put a column about a contact into another table"
        )


async def test_what_leads_to_a_contact_is_in_a_table_about_contacts(talk: Conversation):
    leading = await talk.sql(
        "select distinct conrelid::regclass::text as source from pg_constraint"
        " where contype = 'f' and confrelid = any(array['sessions', 'messages', 'turns',"
        " 'session_identities', 'notices', 'messages_archive']::regclass[])"
    )
    assert {row["source"] for row in leading} <= set(ABOUT_CONTACTS)


@pytest.mark.parametrize("whole", [True, False])
async def test_every_column_about_a_contact_is_exported(talk: Conversation, whole: bool):
    await a_long_story(talk)
    await archive_one(talk)
    named = person()
    if whole:
        contact = (await talk.database.call("export_contact", named.named))["contact"]
    else:
        contact = await export_contact(talk.database, named)
    names = {"messages_archive": "archived_messages", "processed_events": "events"}
    found = await columns(talk)
    missing: dict[str, set[str]] = {}
    for table in ABOUT_CONTACTS:
        rows = contact.get(names.get(table, table))
        exported = set[str]() if table == "session_identities" else set(rows[0])
        lacks = set(found[table]) - exported - words(NOT_EXPORTED.get(table, ""))
        if lacks:
            missing[table] = lacks
        assert not words(NOT_EXPORTED.get(table, "")) & exported, table
    assert missing == {}
    (session,) = contact["sessions"]
    known = await talk.sql("select jid from session_identities")
    assert set(contact["identities"]) == set(session["identities"]) == {r["jid"] for r in known}


async def test_an_erasure_leaves_no_row_in_any_table_about_contacts(talk: Conversation):
    await a_long_story(talk)
    await archive_one(talk)
    before = await counts(talk, ABOUT_CONTACTS)
    assert 0 not in before.values(), f"let the story leave something there: {before}"
    await erase(talk)
    await forget_files(talk)
    left = {name: rows for name, rows in (await counts(talk, ABOUT_CONTACTS)).items() if rows}
    assert left.keys() <= {"processed_events", "spending", "messages"}
    # What is left is the tenant's own: its budget, and what its staff was told, without the words.
    assert await talk.value("select count(*) from spending where session_id is not null") == 0
    kept = await talk.sql("select body, session_id from messages")
    assert [row["body"] for row in kept if row["body"]] == []


async def test_an_archived_message_keeps_every_column(talk: Conversation):
    await a_long_story(talk)
    before, after = await archive_one(talk)
    assert set(after) - set(before) == {"archived_at"}
    assert {name: after.get(name) for name in before} == before
    assert [name for name, value in before.items() if value is None] == []


async def test_what_is_past_its_retention_goes_from_every_table_about_contacts(talk: Conversation):
    await a_long_story(talk)
    await talk.sql("update tenants set on_retention = 'delete'")
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.sql("update notices set state = 'dead', finished_at = now()")
    await talk.sql("update sessions set is_paused = false, resume_source = 'operator'")
    await talk.travel(days=500)
    while (await talk.database.call("prune", {"retention_days": 30}))["more"]:
        pass
    await forget_files(talk)
    left = await counts(talk, ABOUT_CONTACTS)
    assert {name for name, rows in left.items() if rows} == set(KEPT_UNTIL_ERASED)


async def test_members_read_what_they_are_to_read_and_nobody_else_anything(talk: Conversation):
    found = await columns(talk)
    for table in found:
        (is_on,) = await talk.sql(
            f"select relrowsecurity as it from pg_class where oid = 'public.{table}'::regclass"
        )
        assert is_on["it"], f"{table} has no row security"
    for table in ABOUT_CONTACTS:
        readable = await talk.sql(
            "select a.attname::text as name,"
            " has_column_privilege('authenticated', a.attrelid, a.attnum, 'select') as by_members,"
            " has_column_privilege('anon', a.attrelid, a.attnum, 'select') as by_anybody"
            f" from pg_attribute as a where a.attrelid = 'public.{table}'::regclass"
            " and a.attnum > 0 and not a.attisdropped"
        )
        assert not [row["name"] for row in readable if row["by_anybody"]], table
        hidden = {row["name"] for row in readable if not row["by_members"]}
        assert hidden == words(HIDDEN_FROM_MEMBERS.get(table, "")), (
            f"{table}: say in 0910_row_security.sql and here whether members read it"
        )
        policies = await talk.sql(
            f"select polname from pg_policy where polrelid = 'public.{table}'::regclass"
        )
        assert len(policies) == (len(hidden) < len(readable)), table
