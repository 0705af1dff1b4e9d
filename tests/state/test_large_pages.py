"""A page of any list has an end in bytes: the router holds whole pages."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.people.requests import Person, export_contact
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, Conversation

LARGEST = 500_000
LONG = "repeat(md5(g::text), 2000)"  # 64,000 characters


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    await talk.open_shop()
    await talk.ingest(talk.message("oi", wa_id="ACX"))
    yield talk
    await database.close()


class Weighed:
    """A database that knows how large its answers were."""

    def __init__(self, talk: Conversation) -> None:
        self.database = talk.database
        self.bytes: list[int] = []

    async def call(self, function: str, argument: Any) -> Json:
        answer = await self.database.call(function, argument)
        self.bytes.append(len(json.dumps(answer, ensure_ascii=False, default=str)))
        return answer

    async def all_of(self, function: str, **asked: Any) -> list[Json]:
        items: list[Json] = []
        cursor = None
        while True:
            page = await self.call(function, {**asked, "limit": 200, "cursor": cursor})
            items += page["items"]
            if (cursor := page["next_cursor"]) is None:
                return items


async def edits(talk: Conversation, count: int, wa_id: str) -> None:
    await talk.sql(
        "insert into processed_events (tenant_id, event_key, event, change)"
        " select 1, 'edit:' || $2::text || ':' || g || ':0', 'messages.edited', jsonb_build_object("
        f"'type', 'edit', 'wa_id', $2::text, 'jids', jsonb_build_array($3::text), 'text', {LONG})"
        " from generate_series(1, $1::integer) as g",
        count,
        wa_id,
        MARIA,
    )


async def long_messages(talk: Conversation, count: int) -> None:
    for table in ("messages", "messages_archive"):
        overriding = "overriding system value" if table == "messages" else ""
        await talk.sql(
            f"insert into {table} (id, tenant_id, session_id, wa_id, from_me, sender, kind, body,"
            " quoted, status, sent_at, created_at, expects_reply, sends)"
            f" {overriding}"
            f" select 1000 + g, 1, 1, 'AC' || g || $2, false, 'contact', 'text', {LONG},"
            f" jsonb_build_object('wa_id', 'x', 'text', {LONG}), 'delivery_ack', now(), now(),"
            " true, 0"
            " from generate_series(1, $1::integer) as g",
            count,
            table,
        )


async def test_an_export_holds_all_of_it_a_little_at_a_time(talk: Conversation):
    await long_messages(talk, 30)
    await edits(talk, 60, "ACX")
    await edits(talk, 3, "AC7messages")
    await edits(talk, 40, "never-came")
    weighed = Weighed(talk)
    exported = await export_contact(weighed, Person.known_as(1, MARIA))
    assert len(exported["messages"]) == 31
    assert len(exported["archived_messages"]) == 30
    keys = [each["event_key"] for each in exported["events"]]
    assert len(keys) == len(set(keys))
    assert sum(key.startswith("edit:") for key in keys) == 60 + 3 + 40
    ids = [each["id"] for each in exported["messages"]]
    assert len(ids) == len(set(ids))
    assert max(weighed.bytes) <= LARGEST + 200_000
    assert len(weighed.bytes) >= 20


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_pages_of_any_size_leave_nothing_out_and_say_nothing_twice(
    talk: Conversation, limit: int
):
    await long_messages(talk, 6)
    await edits(talk, 9, "AC1messages")
    await edits(talk, 9, "AC6messages")
    for name, count in (("messages", 7), ("archived_messages", 6), ("events", 19)):
        asked: dict[str, Any] = {"tenant_id": 1, "session_id": 1, "list": name, "limit": limit}
        seen: list[Any] = []
        cursor = None
        while True:
            page = await talk.database.call("export_rows", {**asked, "cursor": cursor})
            seen += [each["id"] for each in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert len(seen) == len(set(seen)) == count, name


async def test_so_do_lists(talk: Conversation):
    await talk.sql(
        "insert into tenants (instance_name, evo_server_url, system_prompt)"
        f" select 'shop-' || g, 'https://evolution.example', {LONG}"
        " from generate_series(1, 40) as g"
    )
    weighed = Weighed(talk)
    names = [each["instance_name"] for each in await weighed.all_of("list_tenants")]
    assert len(names) == len(set(names)) == 41
    assert max(weighed.bytes) <= LARGEST + 100_000


async def test_a_row_that_is_larger_than_a_page_is_a_page(talk: Conversation):
    await talk.sql(
        "insert into tenants (instance_name, evo_server_url, system_prompt)"
        " select 'shop-' || g, 'https://evolution.example', repeat('x', 900000)"
        " from generate_series(1, 3) as g"
    )
    weighed = Weighed(talk)
    assert len(await weighed.all_of("list_tenants")) == 4
    assert len(weighed.bytes) == 3
