"""What a public SQL function needs it refuses to do without, by name; null is as nothing.

Which keys those are the header says, and `tests/unit/test_sql_headers.py` holds it to the body.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from router.errors import Invalid
from router.state.database import Json
from tests.sql_headers import Header, headers
from tests.state.conversation import MARIA, POLICY, Conversation

CASES = [name for name, header in headers().items() if header.required or header.alternatives]
NOBODY = "00000000-0000-4000-8000-000000000000"
# Something for every key, so that a call which has them all gets as far as it can.
VALUES: Mapping[str, object] = {
    **dict.fromkeys(("limit", "lease_seconds", "max_attempts", "history_limit"), 5),
    **dict.fromkeys(("base_seconds", "after_seconds", "check_after", "give_up_hours"), 5),
    **dict.fromkeys(("late_seconds", "margin_seconds", "look_back_hours", "seconds"), 5),
    **dict.fromkeys(("tenant_id", "session_id", "turn_id", "message_id", "notice_id"), 1),
    **dict.fromkeys(("api_key_id", "webhook_secret_id", "part", "tokens"), 1),
    "execution_id": "1",
    "token": NOBODY,
    "user_id": NOBODY,
    "policy": POLICY,
    "caller": {"kind": "script", "name": "test"},
    "function": "list_tenants",
    "until": "2999-01-01T00:00:00Z",
    "secret_hash": "0" * 64,
    "key_hash": "0" * 64,
    "jids": [MARIA],
    "hashes": {MARIA: ["0" * 64]},
    "parts": ["Olá!"],
    "turns": [{"turn_id": 1, "token": NOBODY}],
    "followers": [{"caller": {"kind": "script", "name": "test"}, "tenant_id": 1}],
    "named": [],
    "events": [],
    "rest": [{"body": "Olá!", "kind": "text", "identity": "text:1"}],
    "values": {"instance_name": "other", "evo_server_url": "https://evolution.example"},
    "tenant_ids": [1],
    "in_doubt": True,
    "role": "admin",
    "source": "operator",
    "outcome": "unknown",
    "kind": "transient",
    "handler": "fallback",
    "list": "messages",
    "column": "evo_api_key",
    "instance_name": "shop",
}


def whole(header: Header) -> Json:
    """Return an argument with all that the function needs, and nothing else."""
    needed = [*sorted(header.required), *(max(each) for each in header.alternatives)]
    return {key: VALUES.get(key, "something") for key in needed}


def spoilt(argument: Json, key: str, *, nullable: bool = False) -> Iterator[Json]:
    """Give the argument without the key, and with null for it."""
    yield {name: value for name, value in argument.items() if name != key}
    if not nullable:
        yield {**argument, key: None}


@pytest.fixture
async def told(talk: Conversation) -> Conversation:
    """A conversation with something in most tables."""
    await talk.maria_writes("Oi")
    await talk.answer()
    await talk.maria_writes("Tudo bem?")
    await talk.owner_writes("Tudo!")
    return talk


async def everything(talk: Conversation) -> dict[str, str]:
    """Return a hash of each table's rows."""
    tables = await talk.sql(
        "select relname::text from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' order by relname"
    )
    return {
        name: await talk.value(
            f"select md5(string_agg(t::text, ',' order by t::text)) from {name} t"
        )
        for name in (table["relname"] for table in tables)
    }


async def test_every_function_refuses_to_do_without_what_it_needs_and_changes_nothing(
    told: Conversation,
):
    before = await everything(told)
    for name in CASES:
        header = headers()[name]
        argument = whole(header)
        for key in header.required:
            for missing in spoilt(argument, key, nullable=key in header.argument.nullable):
                with pytest.raises(Invalid) as refused:
                    await told.database.call(name, missing)
                fault = "missing" if key not in missing else "null"
                assert str(refused.value) == f'{name} needs "{key}": it is {fault}'
        for keys in header.alternatives:
            missing = {key: value for key, value in argument.items() if key not in keys}
            with pytest.raises(Invalid) as refused:
                await told.database.call(name, missing)
            assert str(refused.value).startswith(f"{name} needs ")
            assert all(f'"{key}"' in str(refused.value) for key in keys)
    assert await everything(told) == before


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name in CASES
        for key, shape in headers()[name].argument.nested.items()
        if shape.required and name != "ingest_events"
    ],
)
async def test_so_it_does_for_what_stands_in_a_list_or_an_object(
    told: Conversation, name: str, key: str
):
    before = await everything(told)
    header = headers()[name]
    shape = header.argument.nested[key]
    given: Any = VALUES.get(key, {})
    item = given[0] if isinstance(given, list) else given
    for inner in shape.required:
        for missing in spoilt(dict.fromkeys(shape.required, "something") | item, inner):
            listed = [item, missing] if isinstance(given, list) else missing
            with pytest.raises(Invalid) as refused:
                await told.database.call(name, {**whole(header), key: listed})
            assert inner in str(refused.value), refused.value
    assert await everything(told) == before


async def test_what_must_be_a_list_is_one(talk: Conversation):
    argument: Json = {"turns": {"turn_id": 1}, "worker": "w", "lease_seconds": 60}
    with pytest.raises(Invalid, match='renew_turns needs "turns": it must be a list'):
        await talk.database.call("renew_turns", argument)
    with pytest.raises(Invalid, match='needs "events", a list'):
        await talk.database.call("ingest_events", {"events": {"a": 1}, "policy": POLICY})
    argument = {"tenant_id": 1, "jids": [], "source": "operator"}
    with pytest.raises(Invalid, match="the list of them is empty"):
        await talk.database.call("pause_contact", argument)


@pytest.mark.parametrize("outcome", ["settle_send", "settle_doubt"])
async def test_what_was_sent_has_an_id(talk: Conversation, outcome: str):
    argument = {**whole(headers()[outcome]), "outcome": "sent"}
    if outcome == "settle_doubt":
        await talk.maria_writes("Oi")
        (session,) = await talk.sql("select id from sessions")
        writing = {"tenant_id": 1, "session_id": session["id"], "body": "Oi!"}
        begun = await talk.database.call("begin_human_send", writing)
        argument["message_id"] = begun["message_id"]
    with pytest.raises(Invalid, match=f'{outcome} needs "wa_id": it is missing'):
        await talk.database.call(outcome, argument)


EVENTS: Mapping[str, tuple[str, ...]] = {
    "message": ("instance", "event", "type", "key", "wa_id", "from_me", "chat", "jids", "kind"),
    "edit": ("wa_id", "text"),
    "delete": ("wa_id",),
    "status": ("wa_id", "status"),
    "connection": ("state",),
}


def event_of(talk: Conversation, kind: str) -> Json:
    message = talk.message("Oi")
    if kind == "message":
        return message
    event = {name: message[name] for name in ("instance", "event", "wa_id", "jids", "text")}
    return event | {"type": kind, "key": f"{kind}:1", "status": "read", "state": "open"}


@pytest.mark.parametrize(("kind", "key"), [(k, key) for k in EVENTS for key in EVENTS[k]])
async def test_a_bad_event_is_refused_by_name_and_keeps_no_other_back(
    talk: Conversation, kind: str, key: str
):
    for bad in spoilt(event_of(talk, kind), key):
        given = {"events": [talk.message("A"), bad, talk.message("B")], "policy": POLICY}
        answer = await talk.database.call("ingest_events", given)
        first, refused, last = answer["decisions"]
        assert first["outcome"] == last["outcome"] == "recorded"
        assert (refused["outcome"], refused["code"]) == ("failed", "PT422")
        assert f'needs "{key}"' in refused["error"], refused
    assert (
        await talk.value("select count(*) from processed_events where event_key like $1", kind) == 0
    )
    assert await talk.value("select count(*) from messages") == 4


async def test_a_message_of_nobody_is_refused(talk: Conversation):
    given = {"events": [{**talk.message("Oi"), "jids": []}], "policy": POLICY}
    (refused,) = (await talk.database.call("ingest_events", given))["decisions"]
    assert refused["error"] == 'an event needs "jids": it must name somebody'


async def test_what_may_be_left_out_may_be_null(told: Conversation):
    """So a model that has nothing to say says null, and nothing else comes of it."""
    for name, header in headers().items():
        argument = whole(header)
        nulls = dict.fromkeys(header.argument.keys - argument.keys() - {"caller"})
        assert await outcome(told, name, {**argument, **nulls}) == await outcome(
            told, name, argument
        ), name
    connected = await outcome(told, "claim_turns", whole(headers()["claim_turns"]))
    assert connected[0] == "answered"


async def outcome(talk: Conversation, name: str, argument: Json) -> tuple[str, object]:
    """Return how a call ends that is then taken back: the keys of the answer, or the error."""
    connection: asyncpg.Connection[asyncpg.Record]
    async with talk.database._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            answer: Any = await connection.fetchval(f"select public.{name}($1)", argument)
        except asyncpg.PostgresError as error:
            return "refused", error.sqlstate
        finally:
            await transaction.rollback()
    return "answered", json.dumps(sorted(answer)) + str(answer.get("refused"))
