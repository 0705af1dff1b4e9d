"""No page of a list is large, however long what it shows was made."""

import json
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import Conversation

MOST = 1_700_000  # a page's 500,000 characters, and a last row of a prompt's megabyte
BOSS = {"kind": "deployment", "name": "boss"}


async def as_boss(talk: Conversation, function: str, **argument: Any) -> Json:
    asked = {"caller": BOSS, "function": function, "argument": argument}
    result: Json = (await talk.database.call("as_operator", asked))["result"]
    return result


async def pages(talk: Conversation, function: str, **argument: Any) -> list[Json]:
    found: list[Json] = []
    cursor = None
    while True:
        page = await as_boss(talk, function, limit=200, cursor=cursor, **argument)
        found.append(page)
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def sizes(found: list[Json]) -> list[int]:
    return [len(json.dumps(page["items"])) for page in found]


async def test_a_long_value_is_audited_by_its_beginning_its_length_and_its_hash(
    talk: Conversation,
):
    for n in range(6):
        await as_boss(
            talk,
            "change_tenant",
            tenant_id=1,
            values={"system_prompt": "a" * 90_000 + str(n), "unanswered_kinds": ["k" * 60]},
        )
    (page,) = await pages(talk, "list_audit", tenant_id=1)
    told = [line["detail"]["system_prompt"] for line in page["items"]]
    assert len({change["to"] for change in told}) == 6  # other prompts read as others
    assert told[0]["from"] == told[1]["to"]
    assert told[0]["to"].startswith("a" * 1000 + " […] (90001 characters, SHA-256 ")
    assert max(sizes([page])) < 30_000
    assert await talk.value("select max(length(detail::text)) from audit_log") < 10_000


@pytest.mark.parametrize("by", ["tenant", "all"])
async def test_a_page_of_lines_that_were_written_long_ends(talk: Conversation, by: str):
    """Lines are never changed: those of before keep what they say, and are told shortly."""
    await talk.sql(
        "insert into audit_log (tenant_id, caller_kind, caller, action, detail)"
        " select 1, 'script', 's', 'change_tenant', jsonb_build_object("
        " 'system_prompt', jsonb_build_object('from', repeat('a', 300000), 'to', n::text),"
        " 'note', repeat('b', 300000)) from generate_series(1, 20) as n"
    )
    await talk.sql(
        "insert into audit_log (tenant_id, caller_kind, caller, action, detail)"
        " select 1, 'script', 's', 'change_tenant', jsonb_object_agg(k::text, repeat('c', 900))"
        " from generate_series(1, 100) as n cross join generate_series(1, 50) as k group by n"
    )
    found = await pages(talk, "list_audit", **({"tenant_id": 1} if by == "tenant" else {}))
    assert max(sizes(found)) < 700_000
    ids = [line["id"] for page in found for line in page["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == len(set(ids)) == 120


async def test_a_page_of_tenants_with_long_prompts_ends(talk: Conversation):
    await talk.sql(
        "insert into tenants (instance_name, evo_server_url, system_prompt)"
        " select 'other' || n, 'https://evolution.example', repeat('a', 400000)"
        " from generate_series(1, 10) as n"
    )
    found = await pages(talk, "list_tenants")
    assert max(sizes(found)) < MOST
    assert [t["id"] for page in found for t in page["items"]] == list(range(1, 12))


async def test_a_page_of_turns_with_long_replies_ends(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.answer()
    await talk.sql(
        "insert into turns (tenant_id, session_id, state, run_after, debounce_until, reply)"
        " select 1, 1, 'sent', now(), now(), jsonb_build_array(repeat('a', 200000))"
        " from generate_series(1, 10) as n"
    )
    for where in ({}, {"state": "sent"}, {"session_id": 1}):
        found = await pages(talk, "list_turns", tenant_id=1, **where)
        assert max(sizes(found)) < MOST
        assert sorted(t["id"] for page in found for t in page["items"]) == list(range(1, 12))
